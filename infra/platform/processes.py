"""Which processes belong to a part of the platform, and how they are ended: all of them, and no other.

A process is known by its number and the moment of its start, so that a number that was given anew is not taken for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.platform.parts import MARK

_PATIENCE = 30.0  # seconds between the request to end and the end by force


@dataclass(frozen=True)
class Known:
    """A process: its number, when it started (clock ticks since boot: a clock that is set back changes nothing)."""

    pid: int
    born: float


def know(pid: int) -> Known:
    """Return how a living process is known.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # ended, or a system without /proc
        return Known(pid, psutil.Process(pid).create_time())
    return Known(pid, float(stat.rpartition(")")[2].split()[19]))


def alive(known: Known) -> bool:
    """Whether this very process lives."""
    with suppress(psutil.Error):
        return know(known.pid) == known and _lives(psutil.Process(known.pid))
    return False


def family(known: Known, mark: str) -> list[psutil.Process]:
    """Return what lives of a part: itself, its descendants, its session, and what bears its mark.

    Tasks of Airflow have sessions of their own and outlive a scheduler that was killed; they bear the mark. Airflow's
    own processes rename themselves, which wipes what they bear; they are found by session.

    Args:
        known: the part's first process, which may have ended.
        mark: value of the variable MARK.
    """
    same = alive(known)
    found: dict[int, psutil.Process] = {}
    if same:
        with suppress(psutil.Error):
            root = psutil.Process(known.pid)
            found = {one.pid: one for one in (root, *root.children(recursive=True))}
    reused = not same and psutil.pid_exists(known.pid)  # then a session of that number is somebody else's
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if (not reused and os.getsid(one.pid) == known.pid) or one.environ().get(MARK) == mark:
                found[one.pid] = one
    found.pop(os.getpid(), None)
    return [one for one in found.values() if _lives(one)]


def end(parts: Iterable[tuple[Known, str]], patience: float = _PATIENCE) -> None:
    """Ask all that lives of some parts to end, wait, and end by force what is left."""
    parts = list(parts)
    members = {one.pid: one for known, mark in parts for one in family(known, mark)}
    for known, _ in parts:
        if alive(known):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(known.pid, signal.SIGTERM)
    leaders = {known.pid for known, _ in parts}
    for one in members.values():
        with suppress(psutil.Error, OSError):
            if os.getpgid(one.pid) not in leaders:  # a task in a session of its own is asked by itself
                one.terminate()
    _, left = psutil.wait_procs(list(members.values()), timeout=patience)
    left += [one for known, mark in parts for one in family(known, mark)]
    for one in left:
        with suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(left, timeout=patience)


def _lives(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)
