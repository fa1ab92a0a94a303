"""Append-only files of JSON lines that outlive a kill: the ledger of looks, the audit of the registry.

A kill within an append leaves a torn last line; the next append cuts it off, or it would grow into a line that nobody
can read. Rows are never rewritten.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from rporec.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Journal(Generic[T]):
    """One such file.

    Args:
        path: the file; its folder is made by the first append.
        row: the flat dataclass that a line holds.
        name: what the file is, in words ("the audit").
        cure: what to do when a whole line cannot be read.
    """

    path: Path
    row: type[T]
    name: str
    cure: str

    def rows(self) -> list[T]:
        """Return all rows, oldest first; a torn last line is left out.

        Raises:
            InputError: a whole line cannot be read.
        """
        return self._parse(self.path.read_bytes()) if self.path.exists() else []

    def extend(self, following: Callable[[list[T]], T | None]) -> None:
        """Append the row that `following` makes of the rows so far, synced to disk; None appends nothing.

        Raises:
            InputError: a whole line cannot be read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # what the row is made of must not change before it is written
            stream.seek(0)
            text = stream.read()
            row = following(self._parse(text))
            if row is None:
                return
            stream.truncate(len(_whole(text)))
            stream.write(json.dumps(vars(row), sort_keys=True).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _parse(self, text: bytes) -> list[T]:
        found = []
        for number, line in enumerate(_whole(text).splitlines(), start=1):
            try:
                found.append(self.row(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"line {number} of {self.name} cannot be read",
                    file=self.path, value=line.decode(errors="replace"), rule="one JSON object a line", cure=self.cure,
                ) from error  # fmt: skip
        return found


def _whole(text: bytes) -> bytes:
    """Return the text up to its last end of line: what follows was torn by a kill before anybody relied on it."""
    return text[: text.rfind(b"\n") + 1]
