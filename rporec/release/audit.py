"""The audit of the registry: an append-only row for every change of the champion.

JSON lines under RPOREC_HOME. Rows are never rewritten; the registry stays the source of who is champion.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rporec.errors import InputError
from rporec.journal import Journal

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Row:
    """One change of an alias.

    Args:
        when: UTC, ISO 8601.
        who: the user who acted.
        model: registered name.
        alias: the alias that moved.
        from_version, to_version: before and after; None = none.
        verdict_hash: SHA-256 of the gates.json that allowed it, "" where none was asked for.
        reason: in words.
    """

    when: str
    who: str
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    verdict_hash: str
    reason: str


def append(path: Path, row: Row) -> None:
    """Add a row and sync it to disk."""
    _journal(path).extend(lambda _: row)


def rows(path: Path, model: str) -> list[Row]:
    """Return a model's rows, oldest first; a line torn by a kill is left out.

    Raises:
        InputError: a whole line cannot be read.
    """
    return [row for row in _journal(path).rows() if row.model == model]


def _journal(path: Path) -> Journal[Row]:
    return Journal(path, Row, "the audit", "restore the file from a backup")


@contextmanager
def single_writer(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the registry's lock on this machine, so that two promotions never run at once.

    Args:
        path: the file beside which the lock lies.
        wait_seconds: how long another promotion is waited for.

    Raises:
        InputError: another one held it all that time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with path.with_suffix(".lock").open("a") as lock:
        while not _locked(lock):
            left = deadline - time.monotonic()
            if left <= 0:
                raise InputError(
                    f"another promotion is running, and was for {wait_seconds:.0f} s",
                    file=lock.name, rule="one at a time", cure="run it again when that one is done",
                )  # fmt: skip
            time.sleep(min(_POLL_SECONDS, left))
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
