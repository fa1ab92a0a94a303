"""What glibc keeps of the memory that a service frees. Other C libraries are left alone."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import Any

_ARENAS = 2
_M_ARENA_MAX = -8  # malloc.h


def few_arenas() -> None:
    """Let all threads share two arenas: each would keep what its requests took. Call it before there are any."""
    with suppress(OSError, AttributeError):
        _glibc().mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return what a model held to the system: glibc would keep it, and the service grow with every swap."""
    gc.collect()
    with suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)


def _glibc() -> Any:  # noqa: ANN401 - ctypes knows no types
    return ctypes.CDLL("libc.so.6")
