"""The audit of the registry: an append-only row for every change of an alias, in the registry's own database.

A change has two rows: `intent` before the alias moves, and after it `done`; `dropped` where a kill came first and the
alias never moved. What moved is told by the `done` rows alone. The registry stays the source of who is champion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rporec.release.audit_row import Log, Phase, Row


def rows(log: Log, model: str, phase: Phase = "done") -> list[Row]:
    """Return a model's rows of one phase, oldest first; none before the table is made."""
    return _read(log, model, phase)


def open_moves(log: Log, model: str) -> list[list[Row]]:
    """Return the acts that a kill left without an end, oldest first: the intents of each in their order."""
    ended = {row.move for phase in ("done", "dropped") for row in _read(log, model, phase)}
    found: dict[str, list[Row]] = {}
    for row in _read(log, model, "intent"):
        if row.move not in ended:
            found.setdefault(row.move, []).append(row)
    return list(found.values())


def intend(log: Log, changes: Sequence[Row]) -> None:
    """Write what is about to be done, all rows or none."""
    _add(log, changes, "intent")


def close(log: Log, changes: Sequence[Row], phase: Literal["done", "dropped"]) -> None:
    """Write how an act ended, all rows or none."""
    _add(log, changes, phase)


def ready(log: Log) -> bool:
    """Make the table where it is missing and take over the file of earlier releases.

    Returns:
        False where MLflow has not made the database yet.

    Raises:
        InputError: the database is of a kind that cannot keep the audit, or the file cannot be read.
    """
    from rporec.release import audit_store

    if not audit_store.exists(log):
        return False
    audit_store.make(log)
    _take_over(log)
    return True


def _read(log: Log, model: str, phase: str) -> list[Row]:
    # SQLAlchemy is imported when first needed: the service reads the registry without it.
    from rporec.release import audit_store

    return [Row(**found) for found in audit_store.select(log, phase, model)]


def _add(log: Log, changes: Sequence[Row], phase: Phase) -> None:
    from rporec.release import audit_store

    audit_store.insert(log, [{**vars(row), "phase": phase} for row in changes])


def _take_over(log: Log) -> None:
    """Copy the rows of `audit.jsonl` once; the names of their moves tell which are there, also after a kill."""
    if not log.earlier.exists():
        return
    from rporec.release import audit_store
    from rporec.release.audit_file import read_file

    known = {str(found["move"]) for found in audit_store.select(log, "done", None)}
    _add(log, [row for row in read_file(log.earlier) if row.move not in known], "done")
    log.earlier.replace(log.earlier.with_suffix(".jsonl.imported"))
