"""The audit of the registry: an append-only row for every change of the champion.

JSON lines under RPOREC_HOME. Rows are never rewritten; the registry stays the source of who is champion.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rporec.errors import InputError


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
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(row), sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def rows(path: Path, model: str) -> list[Row]:
    """Return a model's rows, oldest first; a line torn by a kill is left out.

    Raises:
        InputError: a whole line cannot be read.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    found = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            found.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"line {number} of the audit cannot be read",
                file=path, value=line, rule="one JSON object a line", cure="restore the file from a backup",
            ) from error  # fmt: skip
    return [row for row in found if row.model == model]


@contextmanager
def single_writer(path: Path) -> Iterator[None]:
    """Hold the registry's lock on this machine, so that two promotions never run at once.

    Raises:
        InputError: another one holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                "another promotion is running",
                file=lock.name,
                rule="one at a time",
                cure="run it again when that one is done",
            ) from error
        yield
