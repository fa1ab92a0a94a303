"""One writer at a time: a lock file on this machine, and a lock in the audit's database where machines share one."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from rporec.errors import InputError
from rporec.release.audit_row import Log

_POLL_SECONDS = 0.2
_POSTGRES_KEY = 0x52504F526563  # any number that nobody else locks in this database ("RPORec")


@contextmanager
def single_writer(log: Log, wait_seconds: float) -> Iterator[None]:
    """Hold the registry's lock, so that two promotions or rollbacks never run at once.

    Args:
        log: the audit that is written: its lock file, and in PostgreSQL an advisory lock that ends with its session.
        wait_seconds: how long another one is waited for.

    Raises:
        InputError: another one held it all that time.
    """
    with ExitStack() as held:
        held.enter_context(file_lock(log.lock, wait_seconds))
        if log.url.startswith("postgresql"):
            held.enter_context(_session_lock(log, wait_seconds))
        yield


@contextmanager
def file_lock(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold a lock file of this machine.

    Raises:
        InputError: another process held it for all of `wait_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        _await(lambda: _locked(stream), wait_seconds, path)
        yield


@contextmanager
def _session_lock(log: Log, wait_seconds: float) -> Iterator[None]:
    import sqlalchemy as sa

    from rporec.release import audit_store

    with audit_store.writing(log) as connection:
        asked = sa.select(sa.func.pg_try_advisory_xact_lock(_POSTGRES_KEY))
        _await(lambda: bool(connection.scalar(asked)), wait_seconds, "the audit's database")
        yield


def _await(taken: Callable[[], bool], wait_seconds: float, what: object) -> None:
    deadline = time.monotonic() + wait_seconds
    while not taken():
        left = deadline - time.monotonic()
        if left <= 0:
            raise InputError(
                f"another promotion or rollback is running, and was for {wait_seconds:.0f} s",
                file=what, rule="one at a time", cure="run it again when that one is done",
            )  # fmt: skip
        time.sleep(min(_POLL_SECONDS, left))


def _locked(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
