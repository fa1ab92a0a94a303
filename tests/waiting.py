"""Waiting for what another process does: one loop, whose limit only ends a test that hangs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def until(
    what: str,
    ready: Callable[[], T | None],
    seconds: float = 120,
    *,
    processes: Iterable[subprocess.Popen[Any]] = (),
    told: Callable[[], str] = str,
    pause: float = 0.1,
    no: type[Exception] = OSError,
) -> T:
    """Wait until something is so and return it.

    An `OSError` (a server that is not up yet), a `KeyError` or a `no` counts as no. Ends with an `AssertionError` that
    shows the end of what `told` returns, when a process ended before or the time is over.
    """
    deadline, watched = time.monotonic() + seconds, tuple(processes)
    while True:
        late, last = time.monotonic() > deadline, None
        ended = any(one.poll() is not None for one in watched)
        try:
            if found := ready():
                return found
        except (OSError, KeyError, no) as error:
            last = error
        if ended or late:
            why = "a process ended before" if ended else f"not within {seconds} s"
            raise AssertionError(f"{what}: {why}\n{told()[-15_000:]}") from last
        time.sleep(pause)
