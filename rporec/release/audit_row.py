"""What a row of the registry's audit says, and where the rows lie. Nothing is read or written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Act = Literal["promote", "challenge", "rollback", "found"]
Phase = Literal["intent", "done", "dropped"]


@dataclass(frozen=True)
class Change:
    """One change of an alias, as every release told it.

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


@dataclass(frozen=True)
class Row(Change):
    """A change with what it was part of.

    Args:
        act: what was done; `found` = an alias that was moved by other means.
        move: names the act; the aliases that it moved share it.
    """

    act: Act
    move: str


@dataclass(frozen=True)
class Log:
    """Where the rows lie.

    Args:
        url: SQLAlchemy URL of an sqlite or PostgreSQL database.
        lock: file that is locked by who writes on this machine.
        earlier: the JSON lines of releases that kept the audit in a file; taken over once, then left alone.
        made_by_mlflow: the database is an sqlite file that MLflow makes and migrates; until then nothing is written.
    """

    url: str = field(repr=False)
    lock: Path
    earlier: Path
    made_by_mlflow: bool


def served(moves: Sequence[Row]) -> set[int]:
    """Return the versions that were the champion at some time.

    Args:
        moves: done rows.
    """
    ends = [(row.from_version, row.to_version) for row in moves if row.alias == "champion"]
    return {version for pair in ends for version in pair if version is not None}


def rolled_back(moves: Sequence[Row]) -> dict[int, Row]:
    """Return the versions that a rollback took from users and nobody brought back, each with that row.

    Args:
        moves: done rows, oldest first.
    """
    found: dict[int, Row] = {}
    for row in moves:
        if row.alias != "champion":
            continue
        if row.to_version is not None:
            found.pop(row.to_version, None)
        if row.act == "rollback" and row.from_version is not None:
            found[row.from_version] = row
    return found
