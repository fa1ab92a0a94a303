"""The leak audit: reads what sequence made and says where the future, or the test, stands in training.

It looks at the tables alone and shares no code with what made them, so that a fault there is seen here. Every check is
made and reported; `refuse` stops the run when one of them failed. What merely recurs (the same purchase by another user
or at another time) is counted, not refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from rporec.data import leakage_given
from rporec.data.leakage_timed import check_histories, check_item_times, check_times
from rporec.data.leaks import PAIRS, Check, checked
from rporec.data.sequences import Sequences
from rporec.errors import InputError


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
        checks += leakage_given.check(interactions)
    else:
        checks += [
            check_times(parts, found.cut),
            check_item_times(interactions, items, found.cut.valid),
            check_histories(parts, interactions, items),
            _check_events(parts),
        ]
    return Leakage(checks, {name: _recurrences(found.train, parts[name], items.height) for name in ("valid", "test")})


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
    pairs = pl.concat([part.select("group", "slice").unique() for part in parts.values()])
    cut = pairs.filter(pairs["group"].is_duplicated()).select("group").unique()
    bad = pl.concat([part.join(cut, on="group", how="semi") for part in parts.values()]) if cut.height else cut
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


def _recurrences(train: pl.DataFrame, later: pl.DataFrame, n_items: int) -> dict[str, float]:
    """Count what of a later part was met in training; shares in [0, 1] of its rows."""
    targets = pl.col("target")
    seen = pl.concat([train["target"].unique(), train["history"].explode(empty_as_null=True).unique()]).unique()
    line = pl.struct("history", "target").hash()
    lines, own_lines = train.select(line).to_series().unique(), later.select(line).to_series()
    owners = later.select("user_id").unique()
    own_train = train.select("user_id", "target").join(owners, on="user_id", how="semi")
    n = later.height
    counts = {
        "targets_never_in_train": n - later.filter(targets.is_in(seen.implode())).height,
        "users_not_in_train": later.join(own_train, on="user_id", how="anti").height,
        "history_and_target_in_train": int(own_lines.is_in(lines.implode()).sum()),
        "user_and_target_in_train": later.join(own_train, on=["user_id", "target"], how="semi").height,
        "target_in_own_history": later.filter(pl.col("history").list.contains(targets)).height,
    }
    shares = {f"{name}_share": round(count / n, 6) for name, count in counts.items()}
    return {"rows": n, "groups": later["group"].n_unique(), "items": n_items, **counts, **shares}
