"""The ledger of looks: every package judged on the same test rows makes the next judgement of these rows stricter.

Trying twenty models on one test set finds a lucky one. So look k at the same rows is taken at alpha * 6 / (pi k)^2:
these levels sum to alpha over endless looks, so that all claims about one set of rows together are wrong at most alpha
of the time. Judging the same bytes on the same rows again is the same look. Append-only JSON lines.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from rporec.journal import Journal

_CURE = "restore the file from a backup; do not delete it: forgotten looks make lucky models pass"


@dataclass(frozen=True)
class Look:
    """One counted look: its number among the looks at these rows (1 = first), and the one-sided alpha it may spend."""

    rows_hash: str
    package_hash: str
    number: int
    alpha: float


def look_alpha(alpha: float, number: int) -> float:
    """Return the error level of look `number` (1, 2, ...): alpha * 6 / (pi k)^2, which sums to alpha (Basel series)."""
    return alpha * 6.0 / (math.pi * number) ** 2


def rows_hash(rows: pl.DataFrame, item_ids: list[str]) -> str:
    """Return the SHA-256 of the events in a ROWS table, by ids: the order of items or rows does not matter."""
    lines = sorted(
        json.dumps([user, moment, item_ids[target], [item_ids[i] for i in history]], ensure_ascii=False)
        for user, moment, target, history in rows.select("user_id", "timestamp", "target", "history").iter_rows()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def spend(path: Path, rows: str, package: str, alpha: float) -> Look:
    """Count a look at `rows` (hash) by `package` (hash) and return it; spent before the results are seen.

    Raises:
        InputError: a line of the ledger cannot be read.
    """
    taken: list[Look] = []

    def look_again_or_anew(looks: list[Look]) -> Look | None:
        same_rows = [look for look in looks if look.rows_hash == rows]
        for look in same_rows:
            if look.package_hash == package:
                taken.append(replace(look, alpha=look_alpha(alpha, look.number)))
                return None
        number = 1 + max((look.number for look in same_rows), default=0)
        taken.append(Look(rows, package, number, look_alpha(alpha, number)))
        return taken[0]

    Journal(path, Look, "the ledger of looks", _CURE).extend(look_again_or_anew)
    return taken[0]
