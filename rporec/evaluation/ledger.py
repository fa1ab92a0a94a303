"""The ledger of looks: every package judged on an event makes the next judgement that uses it stricter.

Trying twenty models on one test set finds a lucky one. So look k is taken at alpha * 6 / (pi k)^2, which sums to alpha
over endless looks, where k is one more than the looks that any of its events has had. Tonight's rows may share most of
their events with last night's (test_days above 1): counted by event, all claims that rest on one event are together
wrong at most alpha of the time, whatever rows it came with. Judging the same bytes against the same rivals on the same
rows again is the same look. Append-only JSON lines, and one file of event codes per set of rows beside them.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.errors import InputError
from rporec.files import atomic_file
from rporec.journal import Journal

Codes = npt.NDArray[np.uint64]

_CURE = "restore the file from a backup; do not delete it: forgotten looks make lucky models pass"


@dataclass(frozen=True)
class Look:
    """One counted look.

    Args:
        rows_hash: the rows that were looked at.
        package_hash: what was judged.
        number: one more than the looks that any of the rows' events had before (1 = first).
        alpha: one-sided error level that it may spend.
        against: the packages that it was compared with, by hash; "" without any.
        events: distinct events of the rows; 0 in lines from before events were counted.
    """

    rows_hash: str
    package_hash: str
    number: int
    alpha: float
    against: str = ""
    events: int = 0


@dataclass(frozen=True)
class Seen:
    """A set of rows as the ledger knows it: its hash, and the code of each of its events, sorted."""

    rows_hash: str
    codes: Codes


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


def seen(rows: pl.DataFrame, item_ids: list[str]) -> Seen:
    """Return what the ledger keeps of a ROWS table; an event is a user, a moment and an item, whatever its history."""
    lines = (
        json.dumps([user, moment, item_ids[target]], ensure_ascii=False).encode()
        for user, moment, target in rows.select("user_id", "timestamp", "target").iter_rows()
    )
    codes = [int.from_bytes(hashlib.blake2b(line, digest_size=8).digest()) for line in lines]
    return Seen(rows_hash(rows, item_ids), np.unique(np.array(codes, dtype=np.uint64)))


def spend(path: Path, rows: Seen, package: str, alpha: float, against: str = "") -> Look:
    """Count a look at `rows` by `package` (hash) and return it; spent before the results are seen.

    Args:
        path: the ledger; the codes of events lie in the folder `events` beside it.
        rows: what is looked at.
        package: hash of the package that looks.
        alpha: the level that all looks at one event share.
        against: hashes of the packages that it is compared with: another champion is another question.

    Raises:
        InputError: a line of the ledger, or a file of codes that it names, cannot be read.
    """
    taken: list[Look] = []
    _keep(path, rows)

    def look_again_or_anew(looks: list[Look]) -> Look | None:
        for look in looks:
            if (look.rows_hash, look.package_hash, look.against) == (rows.rows_hash, package, against):
                taken.append(replace(look, alpha=look_alpha(alpha, look.number)))
                return None
        number = 1 + _most_looks(path, rows, looks)
        taken.append(Look(rows.rows_hash, package, number, look_alpha(alpha, number), against, len(rows.codes)))
        return taken[0]

    Journal(path, Look, "the ledger of looks", _CURE).extend(look_again_or_anew)
    return taken[0]


def _most_looks(path: Path, rows: Seen, looks: list[Look]) -> int:
    """Return how many looks the most looked-at event of the rows has had; rows without events count as one event."""
    counts = np.zeros(max(1, len(rows.codes)), dtype=np.int64)
    known = {rows.rows_hash: np.ones(len(counts), dtype=bool)}  # rows to which of the events they hold
    for look in looks:
        if look.rows_hash not in known:
            if not look.events:
                continue
            known[look.rows_hash] = np.isin(rows.codes, _codes(path, look), assume_unique=True)
        counts[: len(known[look.rows_hash])] += known[look.rows_hash]
    return int(counts.max())


def _keep(path: Path, rows: Seen) -> None:
    file = _file(path, rows.rows_hash)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, rows.codes, allow_pickle=False)


def _codes(path: Path, look: Look) -> Codes:
    file = _file(path, look.rows_hash)
    try:
        found: Codes = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"the events of look {look.number} cannot be read: {error}", file=file, cure=_CURE) from error
    return found


def _file(path: Path, name: str) -> Path:
    return path.parent / "events" / f"{name}.npy"
