"""From interactions to rows of (history, target), cut into train, valid and test on one global time line.

Only the cut and its slices; how rows come about is in `rporec.data.timeline` (events) and `rporec.data.given` (a given
split, which is honoured). Whether a split leaks is decided in `rporec.data.leakage`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from rporec.config import SequenceParams
from rporec.data.draws import Ints
from rporec.data.given import given_rows
from rporec.data.sources.layout import SPLITS
from rporec.data.timeline import Cut, timed_rows
from rporec.days import DAY, iso, midnight
from rporec.errors import InputError
from rporec.tables import ROWS

_KEYS = {"days": "days", "dates": "from", "shares": "share"}  # what cuts the time line, to the end of its params' names


@dataclass(frozen=True)
class Sequences:
    """The split tables.

    Args:
        train, valid, test: ROWS tables; train's slices are fit, reason, align from old to new.
        cut: where the time line is cut; None for a given split.
        firsts: interactions without anything earlier of their user: history of others, never targets.
        repeats_dropped: interactions left out because `repeats` is false.
        outside_core: interactions left out because `core` is above 1.
    """

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    cut: Cut | None
    firsts: int
    repeats_dropped: int
    outside_core: int

    def parts(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name, oldest first."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def build(interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams, end: int | None) -> Sequences:
    """Build the rows and cut them into train, valid and test.

    Args:
        interactions: table INTERACTIONS.
        items: table ITEMS, whose row numbers become the items' indices.
        params: section `sequence`.
        end: end of the time line, s UTC, exclusive; not needed for a given split.

    Raises:
        InputError: a part stays empty, or fewer than two users can be trained on.
    """
    cut = None
    if interactions["split"].null_count() == 0:
        rows = given_rows(interactions, items, params)
    else:
        cut = cut_of(interactions, params, end)
        rows = timed_rows(interactions, items, params, cut)
    _require_parts(rows.parts, cut, params, interactions)
    train = slice_train(rows.parts["train"], params.reason_share, params.align_share)
    columns = list(ROWS.columns)
    valid, test = (rows.parts[name].with_columns(slice=pl.lit(name)).select(columns) for name in ("valid", "test"))
    return Sequences(
        train.select(columns), valid, test, cut, rows.firsts, rows.repeats_dropped, rows.outside_core
    )  # fmt: skip


def cut_of(interactions: pl.DataFrame, params: SequenceParams, end: int | None) -> Cut:
    """Return where valid and test begin.

    Raises:
        InputError: the end of the time line is not known.
    """
    if params.split == "dates":
        return Cut(midnight(str(params.valid_from)), midnight(str(params.test_from)))
    if params.split == "shares":
        times = interactions["timestamp"].sort()
        shares = (params.valid_share + params.test_share, params.test_share)
        valid, test = (int(times[min(int(len(times) * (1 - share)), len(times) - 1)]) for share in shares)
        return Cut(valid, test)
    if end is None:
        raise InputError("the end of the time line is unknown", field="end", cure="run validate again (make run)")
    test = end - params.test_days * DAY
    return Cut(test - params.valid_days * DAY, test)


def slice_train(train: pl.DataFrame, reason_share: float, align_share: float) -> pl.DataFrame:
    """Name the slices of train rows (in time order): fit, then reason, then align; no group is cut.

    Args:
        train: rows in time order, groups contiguous.
        reason_share: share of rows of slice reason, in (0, 0.5).
        align_share: newest share of rows, in (0, 0.5).
    """
    group = train["group"].to_numpy()
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    align = _snap(starts, train.height * (1 - align_share))
    reason = _snap(starts, train.height * (1 - align_share - reason_share))
    sizes = {"fit": reason, "reason": align - reason, "align": train.height - align}
    if empty := [name for name, size in sizes.items() if size == 0]:
        raise InputError(
            f"no train row is left for slice {empty[0]}",
            field="sequence.align_share" if empty[0] == "align" else "sequence.reason_share", value=sizes,
            rule="each of fit, reason and align holds at least one group",
            cure="give more interactions, or other shares",
        )  # fmt: skip
    return train.with_columns(slice=pl.concat([pl.repeat(name, size, eager=True) for name, size in sizes.items()]))


def _snap(starts: Ints, wanted: float) -> int:
    """Return the group start that is nearest to a wanted row number."""
    return int(starts[np.argmin(np.abs(starts - wanted))])


def _require_parts(
    parts: dict[str, pl.DataFrame], cut: Cut | None, params: SequenceParams, interactions: pl.DataFrame
) -> None:
    for name in SPLITS:
        if not parts[name].is_empty():
            continue
        when = ""
        if cut is not None:
            newest = iso(int(str(interactions["timestamp"].max())))
            when = (
                f" (valid from {iso(cut.valid)}, test from {iso(cut.test)}, the newest interaction is of {newest}, UTC)"
            )
        key = f"sequence.{'valid' if name == 'train' else name}_{_KEYS[params.split]}"
        raise InputError(
            f"no row falls into {name}{when}",
            field="split" if cut is None else key,
            rule="each of train, valid and test holds at least one row with a history",
            cure=f"give rows to {name}" if cut is None else "cut the time line elsewhere, or take another ingest.as_of",
        )  # fmt: skip
    users = parts["train"]["user_id"]
    if not (users != users[0]).any():
        raise InputError(
            "too few usable users in train",
            field="user_id", value=1, rule="at least two users with a history and a target in train",
            cure="give more interactions, or fewer days to valid and test",
        )  # fmt: skip
