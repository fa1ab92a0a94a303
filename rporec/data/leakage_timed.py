"""The checks that need times: split times, item features, histories strictly before their target."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rporec.data.leaks import Check, checked
from rporec.data.timeline import Cut
from rporec.days import iso

_CHUNK = 1 << 19  # rows whose histories are opened at a time
_Keys = NDArray[np.int64]


def check_times(parts: dict[str, pl.DataFrame], cut: Cut) -> Check:
    """No row lies on the wrong side of a split time."""
    time = pl.col("timestamp")
    wrong = {
        "train": time >= cut.valid,
        "valid": (time < cut.valid) | (time >= cut.test),
        "test": time < cut.test,
    }
    found = {name: parts[name].filter(rule) for name, rule in wrong.items()}
    bad = pl.concat(found.values())
    problem = "; ".join(
        f"{rows.height} rows of {name} lie on the wrong side of the split time"
        for name, rows in found.items()
        if rows.height
    )
    rule = f"train before {iso(cut.valid)}, valid before {iso(cut.test)}, test from then on (UTC)"
    rows = sum(part.height for part in parts.values())
    cure = "remove the rows, or report this with the data: sequence must not write them"
    return checked("split_times", rule, rows, bad, problem, cure)


def check_item_times(interactions: pl.DataFrame, items: pl.DataFrame, split: int) -> Check:
    """No item that was bought before the split is described by a row that is known only since.

    Args:
        interactions: table INTERACTIONS.
        items: table ITEMS.
        split: s UTC at which valid begins.
    """
    late = items.filter(pl.col("known_from") >= split).select("item_id", "title", "known_from")
    before = interactions.filter(pl.col("timestamp") < split).select("item_id").unique()
    bad = late.join(before, on="item_id", how="semi").sort("item_id")
    return checked(
        "item_features", f"attributes of items bought before {iso(split)} (UTC) were known before",
        items.height, bad, f"{bad.height} items of train are described by rows of a later time",
        "set ingest.item_lag_days to the days of valid and test or more, and give the earlier item rows too",
    )  # fmt: skip


def check_histories(parts: dict[str, pl.DataFrame], interactions: pl.DataFrame, items: pl.DataFrame) -> Check:
    """A history holds only what its user had bought strictly before its target."""
    users = pl.Enum(interactions["user_id"].unique().sort())
    keys, first = _first_bought(interactions, items, users)
    found = []
    for part in parts.values():
        user = _code(part["user_id"], users)
        for low in range(0, part.height, _CHUNK):
            rows = part.slice(low, _CHUNK)
            early = _is_early(rows, user[low : low + _CHUNK] * items.height, keys, first)
            found.append(rows.filter(pl.Series(early)))
    bad = pl.concat([rows for rows in found if rows.height] or [parts["test"].head(0)])
    rule = "a history holds purchases strictly earlier than its target's time"
    n = sum(part.height for part in parts.values())
    problem = f"{bad.height} histories are not strictly before their target"
    return checked("histories", rule, n, bad, problem, "report this with the data: sequence must not write them")


def _first_bought(interactions: pl.DataFrame, items: pl.DataFrame, users: pl.Enum) -> tuple[_Keys, _Keys]:
    """Return (sorted keys user × N + item, time at which the user first bought the item)."""
    names = {"user_id": users, "item_id": pl.Enum(items["item_id"])}
    # In one select, so that two threads look ids up at once.
    codes = interactions.select(
        "timestamp", *(pl.col(name).cast(kind).to_physical().cast(pl.Int64) for name, kind in names.items())
    )
    pairs = codes.select(key=pl.col("user_id") * items.height + pl.col("item_id"), timestamp="timestamp")
    pairs = pairs.sort("key", "timestamp")
    pairs = pairs.filter(pl.col("key").ne_missing(pl.col("key").shift(1)))
    return pairs["key"].to_numpy(), pairs["timestamp"].to_numpy()


def _code(ids: pl.Series, names: pl.Enum) -> _Keys:
    return ids.cast(names).to_physical().cast(pl.Int64).to_numpy()


def _is_early(rows: pl.DataFrame, base: _Keys, keys: _Keys, first: _Keys) -> NDArray[np.bool_]:
    """Return which rows [n] have a history item that was first bought at the target's time or later, or never.

    Args:
        rows: n rows of a part.
        base: their users' first keys [n].
        keys: of `_first_bought`.
        first: of `_first_bought`.
    """
    time = rows["timestamp"].to_numpy()
    by_user = np.argsort(base, kind="stable")  # so that the look-ups below walk through the keys instead of jumping
    history = rows["history"].gather(by_user)
    length = history.list.len().to_numpy()
    wanted = np.repeat(base[by_user], length) + history.explode(empty_as_null=False).to_numpy()
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    early = (keys[at] != wanted) | (first[at] >= np.repeat(time[by_user], length))
    marked = np.zeros(rows.height, dtype=bool)
    marked[np.repeat(by_user, length)[early]] = True
    return marked
