"""The leak audit: reads what sequence made and says where the future, or the test, stands in training.

It looks at the tables alone and shares no code with what made them, so that a fault there is seen here. Every check is
made and reported; `refuse` stops the run when one of them failed. What merely recurs (the same purchase by another user
or at another time) is counted, not refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rporec.data import leakage_given
from rporec.data.leakage_timed import check_histories, check_item_times, check_times
from rporec.data.leaks import PAIRS, Check, checked
from rporec.data.sequences import Sequences
from rporec.errors import InputError

_LINE = pl.struct("history", "target").hash().alias("line")


@dataclass(frozen=True)
class Leakage:
    """What the audit found.

    Args:
        checks: every check with its rule, the rows that it looked at, and the rows that break it.
        recurrences: per later part (valid, test): counts and shares of what was seen in train.
    """

    checks: list[Check]
    recurrences: dict[str, dict[str, float]]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not any(check.bad for check in self.checks)

    def report(self) -> dict[str, object]:
        """Return the audit as JSON."""
        checks = [{**asdict(check), "passed": not check.bad} for check in self.checks]
        return {"passed": self.passed, "checks": checks, "recurrences": self.recurrences}


def audit(found: Sequences, interactions: pl.DataFrame, items: pl.DataFrame) -> Leakage:
    """Audit the split.

    Args:
        found: the split tables.
        interactions: table INTERACTIONS that they were made from.
        items: table ITEMS.
    """
    parts = found.parts()
    checks = [_check_rows(parts), _check_groups(parts)]
    if found.cut is None:
        checks += leakage_given.check(interactions, items)
    else:
        checks += [
            check_times(parts, found.cut),
            check_item_times(interactions, items, found.cut.valid),
            check_histories(parts, interactions, items),
            _check_events(parts),
        ]
    return Leakage(checks, _recurrences(found.train, {name: parts[name] for name in ("valid", "test")}, items.height))


def refuse(leakage: Leakage, report: Path) -> None:
    """Stop when a check failed.

    Args:
        leakage: what the audit found.
        report: where the whole report lies, for the message.

    Raises:
        InputError: a leak; it names rows and cure.
    """
    for check in leakage.checks:
        if check.bad:
            raise InputError(
                f"leak: {check.problem}; for instance " + "; ".join(check.examples),
                file="outputs/sequence", rule=check.rule, cure=f"{check.cure} (the whole report: {report})",
            )  # fmt: skip


def _check_rows(parts: dict[str, pl.DataFrame]) -> Check:
    rows = pl.concat([part.select("row_id") for part in parts.values()])
    twice = rows.filter(rows["row_id"].is_duplicated())
    bad = pl.concat([part.join(twice, on="row_id", how="semi") for part in parts.values()]) if twice.height else twice
    rule = "row_id is unique over train, valid and test"
    return checked("row_ids", rule, rows.height, bad, f"{bad.height} row ids occur twice", "run sequence again")


def _check_groups(parts: dict[str, pl.DataFrame]) -> Check:
    """A basket lies in one slice: its lines share one thought."""
    groups = [
        rows["group"].unique() for part in parts.values() for _, rows in part.select("group", "slice").group_by("slice")
    ]
    every = pl.concat(groups)
    bad = parts["test"].head(0)
    if every.n_unique() < len(every):
        cut = every.filter(every.is_duplicated()).unique().to_frame("group")
        bad = pl.concat([part.join(cut, on="group", how="semi") for part in parts.values()])
    rows = sum(part.height for part in parts.values())
    problem = f"{bad.height} rows share a group over slices"
    return checked("groups", "a group lies in one slice", rows, bad, problem, "run sequence again")


def _check_events(parts: dict[str, pl.DataFrame]) -> Check:
    """One event (user, time, target) stands in one part."""
    key = ["user_id", "timestamp", "target"]
    found: list[pl.DataFrame] = []
    problem = ""
    for earlier, later in PAIRS:
        span = pl.col("timestamp").is_between(parts[later]["timestamp"].min(), parts[later]["timestamp"].max())
        same = parts[later].join(parts[earlier].filter(span), on=key, how="semi")
        if same.height:
            found.append(same)
            problem = problem or f"{same.height} events of {later} stand in {earlier} too"
    bad = pl.concat(found) if found else parts["test"].head(0)
    rows = sum(part.height for part in parts.values())
    return checked("events", "an event (user, time, item) lies in one part", rows, bad, problem, "remove them")


def _recurrences(train: pl.DataFrame, later: dict[str, pl.DataFrame], n_items: int) -> dict[str, dict[str, float]]:
    """Count what of each later part was met in training; shares in [0, 1] of its rows."""
    known = np.zeros(n_items, dtype=bool)
    known[train["target"].to_numpy()] = True
    known[train["history"].explode(empty_as_null=False).to_numpy()] = True
    lines = train.select(_LINE).to_series()
    return {name: _recurring(train, part, known, lines) for name, part in later.items()}


def _recurring(train: pl.DataFrame, part: pl.DataFrame, known: NDArray[np.bool_], lines: pl.Series) -> dict[str, float]:
    own_lines = part.select(_LINE).to_series()
    met = lines.filter(lines.is_in(own_lines.unique().implode())).unique()  # a small set of what the part asks for
    own_train = train.select("user_id", "target").filter(pl.col("user_id").is_in(part["user_id"].unique().implode()))
    counts = {
        "targets_never_in_train": int((~known[part["target"].to_numpy()]).sum()),
        "users_not_in_train": part.join(own_train, on="user_id", how="anti").height,
        "history_and_target_in_train": int(own_lines.is_in(met.implode()).sum()),
        "user_and_target_in_train": part.join(own_train, on=["user_id", "target"], how="semi").height,
        "target_in_own_history": part.filter(pl.col("history").list.contains(pl.col("target"))).height,
    }
    shares = {f"{name}_share": round(count / part.height, 6) for name, count in counts.items()}
    return {"rows": part.height, "groups": part["group"].n_unique(), **counts, **shares}
