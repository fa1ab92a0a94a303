"""Named groups of test rows: by history length, how often the target was seen, what is new, and what the texts say.

For showing and guarding what an average hides. The bounds are fixed counts, so that a slice means the same every night.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.catalogue import Catalogue

Mask = npt.NDArray[np.bool_]

# (name, least, most) in items of history, and in training rows of the target.
_HISTORY = (("history_1", 0, 1), ("history_2_4", 2, 4), ("history_5_9", 5, 9), ("history_10_up", 10, None))
_ITEMS = (("item_tail", 1, 4), ("item_middle", 5, 19), ("item_head", 20, None))
_WORD = re.compile(r"[^\W_]+")


def slice_masks(ranks: pl.DataFrame) -> dict[str, Mask]:
    """Return which rows of a RANKS table each slice holds, [n] bool each; slices without rows are left out."""
    length, seen = ranks["history_length"].to_numpy(), ranks["target_train_count"].to_numpy()
    user_new, item_new = ranks["user_new"].to_numpy(), ranks["item_new"].to_numpy()
    masks = {name: _between(length, least, most) for name, least, most in _HISTORY}
    masks |= {"item_new": item_new}
    masks |= {name: _between(seen, least, most) & ~item_new for name, least, most in _ITEMS}
    masks |= {"user_new": user_new, "user_known": ~user_new}
    return {name: mask for name, mask in masks.items() if mask.any()}


def text_masks(histories: Sequence[Sequence[int]], targets: Sequence[int], catalogue: Catalogue) -> dict[str, Mask]:
    """Return where a reader of texts might see more than ids do, [n] bool each; slices without rows are left out.

    `brand_kept`, `brand_switch`: the target's brand is, or is not, that of the newest item (both known).
    `variant`: new to the user, but titled as an item of the history but for words with a digit (a size, a number).
    `repeat`: in the history. `described`: the newest item has a description.

    Args:
        histories: n histories, oldest item first.
        targets: n items.
        catalogue: texts.
    """
    stems = [" ".join(w for w in _WORD.findall(title.lower()) if w.isalpha()) for title in catalogue.titles]
    found: dict[str, list[bool]] = {
        name: [] for name in ("brand_kept", "brand_switch", "variant", "repeat", "described")
    }
    for history, target in zip(histories, targets, strict=True):
        newest = catalogue.brands[history[-1]] if len(history) else ""
        both = bool(newest and catalogue.brands[target])
        again = target in history
        found["brand_kept"].append(both and newest == catalogue.brands[target])
        found["brand_switch"].append(both and newest != catalogue.brands[target])
        found["variant"].append(not again and stems[target] in {stems[item] for item in history} - {""})
        found["repeat"].append(again)
        found["described"].append(bool(len(history) and catalogue.descriptions[history[-1]]))
    masks = {name: np.asarray(values, bool) for name, values in found.items()}
    return {name: mask for name, mask in masks.items() if mask.any()}


def label_rows(test: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return RANKS' fixed columns for test rows, counted on the rows (ROWS) that the final model was fitted on."""
    counts = known.group_by("target").len("target_train_count")
    seen = pl.concat([known["target"], known["history"].explode(empty_as_null=False).cast(pl.Int32)]).unique()
    return (
        test.join(counts, on="target", how="left", maintain_order="left")
        .with_columns(
            pl.col("target_train_count").fill_null(0).cast(pl.Int32),
            history_length=pl.col("history").list.len().cast(pl.Int32),
            user_new=~pl.col("user_id").is_in(known["user_id"].unique().implode()),
            item_new=~pl.col("target").is_in(seen.implode()),
        )
        .select(
            "row_id", "group", "user_id", "target", "history_length", "target_train_count", "user_new", "item_new"
        )
    )  # fmt: skip


def _between(values: npt.NDArray[np.integer], least: int, most: int | None) -> Mask:
    return np.asarray((values >= least) & (True if most is None else values <= most))
