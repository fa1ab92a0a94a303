"""Named groups of test rows: by history length, by how often the target was seen, and by what is new.

For showing and guarding what an average hides. The bounds are fixed counts, so that a slice means the same every night.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

Mask = npt.NDArray[np.bool_]

# (name, least, most) in items of history, and in training rows of the target.
_HISTORY = (("history_1", 0, 1), ("history_2_4", 2, 4), ("history_5_9", 5, 9), ("history_10_up", 10, None))
_ITEMS = (("item_tail", 1, 4), ("item_middle", 5, 19), ("item_head", 20, None))


def slice_masks(ranks: pl.DataFrame) -> dict[str, Mask]:
    """Return which rows of a RANKS table each slice holds, [n] bool each; slices without rows are left out."""
    length, seen = ranks["history_length"].to_numpy(), ranks["target_train_count"].to_numpy()
    user_new, item_new = ranks["user_new"].to_numpy(), ranks["item_new"].to_numpy()
    masks = {name: _between(length, least, most) for name, least, most in _HISTORY}
    masks |= {"item_new": item_new}
    masks |= {name: _between(seen, least, most) & ~item_new for name, least, most in _ITEMS}
    masks |= {"user_new": user_new, "user_known": ~user_new}
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
