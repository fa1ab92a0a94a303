"""The ledger of looks: every package judged on the same test rows makes the next judgement of these rows stricter.

Trying twenty models on one test set finds a lucky one. So look k at the same rows is taken at alpha * 6 / (pi k)^2:
these levels sum to alpha over endless looks, so that all claims about one set of rows together are wrong at most alpha
of the time. Judging the same bytes on the same rows again is the same look. Append-only JSON lines.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from rporec.errors import InputError


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
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # two judgements at once must not share a number
        stream.seek(0)
        text = stream.read()
        looks = [look for look in _parse(text, path) if look.rows_hash == rows]
        for look in looks:
            if look.package_hash == package:
                return Look(rows, package, look.number, look_alpha(alpha, look.number))
        number = 1 + max((look.number for look in looks), default=0)
        look = Look(rows, package, number, look_alpha(alpha, number))
        stream.truncate(len(_whole(text).encode()))
        stream.write(json.dumps(asdict(look), sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return look


def _whole(text: str) -> str:
    """Return the text up to its last end of line: a kill within an append leaves a torn line, which saw no result."""
    return text[: text.rfind("\n") + 1]


def _parse(text: str, path: Path) -> list[Look]:
    looks = []
    for number, line in enumerate(_whole(text).splitlines(), start=1):
        try:
            looks.append(Look(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"line {number} of the ledger of looks cannot be read",
                file=path, value=line, rule="one JSON object a line, as written by the gate",
                cure="restore the file from a backup; do not delete it: forgotten looks make lucky models pass",
            ) from error  # fmt: skip
    return looks
