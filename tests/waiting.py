"""Waiting for what another process does: one loop, whose limit only ends a test that hangs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def until(
    what: str,
    ready: Callable[[], T],
    seconds: float = 120,
    *,
    processes: Iterable[subprocess.Popen[Any]] = (),
    told: Callable[[], str] = str,
    pause: float = 0.1,
    no: type[Exception] = OSError,
) -> T:
    """Wait until something is so and return it.

    An `OSError` (a server that is not up yet), a `KeyError` or a `no` counts as no. Ends with an `AssertionError` that
    shows the end of what `told` returns, when a process ended or the time is over.
    """
    deadline, watched = time.monotonic() + seconds, tuple(processes)
    while True:
        with suppress(OSError, KeyError, no):
            if found := ready():
                return found
        why = f"not within {seconds} s" if time.monotonic() > deadline else ""
        if any(one.poll() is not None for one in watched):
            why = "a process ended before"
        if why:
            raise AssertionError(f"{what}: {why}\n{told()[-3000:]}")
        time.sleep(pause)
