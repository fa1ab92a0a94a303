"""The leak audit: reads what sequence made and stops the run when the future, or the test, stands in training.

It looks at the tables alone and shares no code with `rporec.data.sequences`, so that a fault there is seen here.
What merely recurs (the same purchase by another user or at another time) is counted and reported, not refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from rporec.data.sequences import Sequences
from rporec.errors import InputError

_EARLIER_LATER = (("train", "valid"), ("train", "test"), ("valid", "test"))
_SHOWN = 3


@dataclass(frozen=True)
class Leakage:
    """What the audit found in a split without a leak.

    Args:
        checked: name of each check to the number of rows that it looked at.
        recurrences: per later part (valid, test): counts and shares of what was seen in train.
    """

    checked: dict[str, int]
    recurrences: dict[str, dict[str, float]]


def audit(found: Sequences, interactions: pl.DataFrame, items: pl.DataFrame) -> Leakage:
    """Audit the split.

    Args:
        found: the split tables.
        interactions: table INTERACTIONS that they were made from.
        items: table ITEMS.

    Raises:
        InputError: a leak; it names rows and cure.
    """
    parts = found.parts()
    checked = {"split_times": _check_times(found), "groups": _check_groups(parts)}
    if interactions["split"].null_count() == 0:
        checked["identical_rows"] = _check_identical(interactions)
        checked["future_histories"] = _check_future(interactions)
    else:
        checked["histories"] = _check_histories(parts, interactions, items)
        checked["identical_events"] = _check_events(parts)
    return Leakage(checked, {name: _recurrences(found.train, parts[name]) for name in ("valid", "test")})


def _check_times(found: Sequences) -> int:
    """Stop when a row lies on the wrong side of a split time."""
    if found.valid_start is None or found.test_start is None:
        return 0
    time = pl.col("timestamp")
    wrong = {
        "train": time >= found.valid_start,
        "valid": (time < found.valid_start) | (time >= found.test_start),
        "test": time < found.test_start,
    }
    for name, rule in wrong.items():
        late = found.parts()[name].filter(rule)
        _stop(
            late, f"{late.height} rows of {name} lie on the wrong side of the split time",
            f"train before {found.valid_start}, valid before {found.test_start}, test from then on (s UTC)",
            "remove the rows, or report this with the data: sequence must not write them",
        )  # fmt: skip
    return sum(part.height for part in found.parts().values())


def _check_groups(parts: dict[str, pl.DataFrame]) -> int:
    """Stop when a row id occurs twice, or a basket is cut between slices (its thought would be shared)."""
    rows = pl.concat(parts.values())
    twice = rows.filter(pl.col("row_id").is_duplicated())
    _stop(
        twice,
        f"{twice.height} row ids occur twice",
        "row_id is unique over train, valid and test",
        "run sequence again",
    )
    cut = rows.filter(pl.col("slice").n_unique().over("group") > 1)
    _stop(cut, f"{cut.height} rows share a group over slices", "a group lies in one slice", "run sequence again")
    return rows.height


def _check_histories(parts: dict[str, pl.DataFrame], interactions: pl.DataFrame, items: pl.DataFrame) -> int:
    """Stop when a history holds an item that its user had not bought strictly before."""
    seen = interactions.group_by("user_id", "item_id").agg(seen=pl.col("timestamp").min())
    rows = pl.concat(parts.values()).unique("group", keep="first", maintain_order=True)
    ids = pl.Series(items["item_id"])
    lines = rows.select("row_id", "user_id", "timestamp", item="history").explode("item", empty_as_null=True)
    lines = lines.with_columns(item_id=ids.gather(lines["item"])).join(seen, on=["user_id", "item_id"], how="left")
    early = lines.filter(pl.col("seen").is_null() | (pl.col("seen") >= pl.col("timestamp")))
    bad = rows.filter(pl.col("row_id").is_in(early["row_id"].implode()))
    _stop(
        bad, f"{bad.height} histories are not strictly before their target",
        "a history holds purchases strictly earlier than its target's time", "report this with the data",
    )  # fmt: skip
    return rows.height


def _check_events(parts: dict[str, pl.DataFrame]) -> int:
    """Stop when one event (user, time, target) stands in two parts."""
    key = ["user_id", "timestamp", "target"]
    for earlier, later in _EARLIER_LATER:
        same = parts[later].join(parts[earlier], on=key, how="semi")
        _stop(
            same, f"{same.height} events of {later} stand in {earlier} too", "an event lies in one part", "remove them"
        )
    return sum(part.height for part in parts.values())


def _check_identical(interactions: pl.DataFrame) -> int:
    """Stop when a row (user, history, target[, time]) of a given split stands in an earlier part too.

    A user who buys one item over and over fills the window of the source with it, and then two true events look the
    same: rows whose window is full of their target alone are left to the recurrences.
    """
    window = interactions["history"].list.len().max()
    alone = (pl.col("history").list.n_unique() == 1) & (pl.col("history").list.first() == pl.col("item_id"))
    full = pl.col("history").list.len() == window
    rows = interactions.filter(~(alone & full)) if interactions["timestamp"].null_count() else interactions
    for earlier, later in _EARLIER_LATER:
        first = rows.filter(pl.col("split") == earlier)
        key = ["user_id", "history", "item_id", "timestamp"]
        same = rows.filter(pl.col("split") == later).join(first, on=key, how="semi", nulls_equal=True)
        _stop(
            same, f"{same.height} rows of {later} stand in {earlier} too (same user, history and target)",
            f"no row of {later} is in {earlier}", f"remove these rows from {earlier}, or cut the split anew",
        )  # fmt: skip
    return interactions.height


def _check_future(interactions: pl.DataFrame) -> int:
    """Stop when an earlier part's history goes on past an event of a later part of the same user.

    Only histories shorter than the source's window start at the user's first purchase, so only these can tell.
    """
    history = pl.col("history")
    window = int(str(interactions["history"].list.len().max()))
    rows = interactions.select("user_id", "split", "history", "item_id")
    event = rows.with_columns(path=pl.concat_list("history", pl.col("item_id"))).filter(history.list.len() + 1 < window)
    for earlier, later in _EARLIER_LATER:
        longer = rows.filter((pl.col("split") == earlier) & (history.list.len() < window))
        for length in range(2, window):
            steps = event.filter((pl.col("split") == later) & (pl.col("path").list.len() == length))
            if steps.is_empty():
                continue
            past = longer.filter(history.list.len() >= length).with_columns(path=history.list.head(length))
            bad = steps.join(past, on=["user_id", "path"], how="semi")
            _stop(
                bad, f"{bad.height} events of {later} stand inside histories of {earlier}",
                f"a history of {earlier} holds nothing that happens in {later}", "cut the split by one global time",
            )  # fmt: skip
    return event.height


def _recurrences(train: pl.DataFrame, later: pl.DataFrame) -> dict[str, float]:
    """Count what of a later part was met in training; shares in [0, 1] of its rows."""
    seen_items = pl.concat([train["target"], train["history"].explode(empty_as_null=True)]).unique()
    n = later.height
    counts = {
        "targets_never_in_train": n - later.filter(pl.col("target").is_in(seen_items.implode())).height,
        "users_not_in_train": later.join(train, on="user_id", how="anti").height,
        "history_and_target_in_train": later.join(train, on=["history", "target"], how="semi").height,
        "user_and_target_in_train": later.join(train, on=["user_id", "target"], how="semi").height,
        "target_in_own_history": later.filter(pl.col("history").list.contains(pl.col("target"))).height,
    }
    shares = {f"{name}_share": round(count / n, 6) for name, count in counts.items()}
    return {"rows": n, "groups": later["group"].n_unique(), **counts, **shares}


def _stop(bad: pl.DataFrame, problem: str, rule: str, cure: str) -> None:
    if bad.is_empty():
        return
    shown = [
        {name: value for name, value in row.items() if value is not None and name != "path"}
        for row in bad.head(_SHOWN).iter_rows(named=True)
    ]
    raise InputError(
        f"leak: {problem}; for instance " + "; ".join(_row(row) for row in shown),
        file="outputs/sequence", rule=rule, cure=cure,
    )  # fmt: skip


def _row(row: dict[str, object]) -> str:
    target = row.get("target", row.get("item_id"))
    where = f"row {row['row_id']}" if "row_id" in row else f"row {row.get('order', '?')} of {row.get('split', '?')}"
    return f"{where}: user {row['user_id']}, history {row['history']}, target {target}"
