"""Reads the audit of earlier releases, JSON lines in RPOREC_HOME, so that it can be taken over by the database."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rporec.journal import Journal
from rporec.release.audit_row import Change, Row


def read_file(path: Path) -> list[Row]:
    """Return the file's rows, oldest first, each named by its line; it knew promotions of the champion alone.

    Raises:
        InputError: a whole line cannot be read.
    """
    lines = Journal(path, Change, "the audit", "restore the file from a backup").rows()
    return [Row(**vars(line), act="promote", move=_name(number, line)) for number, line in enumerate(lines, start=1)]


def _name(number: int, line: Change) -> str:
    """Name a line by its place and content: several machines may bring a file of their own to one database."""
    return f"audit.jsonl:{number}:{hashlib.sha256(repr(line).encode()).hexdigest()[:16]}"
