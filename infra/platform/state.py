"""What runs, in `platform/state.json` of RPOREC_HOME: numbers and start times of processes, addresses; no secret.

Who holds the lock beside it is the living keeper (or is about to start one); a state without that is stale.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO

from infra.platform import processes
from infra.platform.processes import Known
from rporec.files import read_json, write_json

Phase = Literal["starting", "up", "failed", "stopping"]


@dataclass(frozen=True)
class State:
    """One start of the platform.

    Args:
        token: names it.
        phase: how far it is.
        keeper: the process that keeps the parts alive.
        parts: the first process of each part that runs.
        pages: addresses by part.
        note: what failed, else "".
    """

    token: str
    phase: Phase
    keeper: Known
    parts: dict[str, Known]
    pages: dict[str, str]
    note: str

    def marked(self) -> Iterator[tuple[Known, str]]:
        """Yield what `processes.end` needs of each part."""
        for name, known in self.parts.items():
            yield known, f"{self.token}.{name}"


def read(folder: Path) -> State | None:
    """Return the state, None where nothing was started or all was stopped."""
    path = _file(folder)
    if not path.exists():
        return None
    found = read_json(path)
    parts = {name: Known(**known) for name, known in found.pop("parts").items()}
    return State(keeper=Known(**found.pop("keeper")), parts=parts, **found)


def write(folder: Path, state: State) -> None:
    """Replace the state."""
    write_json(_file(folder), asdict(state))


def forget(folder: Path) -> None:
    """Remove the state."""
    _file(folder).unlink(missing_ok=True)


def stop_leftovers(folder: Path) -> bool:
    """End what lives of an earlier start, and forget it; return whether anything lived. Only with the lock held."""
    left = read(folder)
    if left is None:
        return False
    living = any(processes.family(known, mark) for known, mark in left.marked())
    processes.end(left.marked())
    forget(folder)
    return living


@contextmanager
def lock(folder: Path) -> Iterator[TextIO | None]:
    """Yield the locked file, which a child may inherit together with the lock; None where another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield stream


def _file(folder: Path) -> Path:
    return folder / "state.json"
