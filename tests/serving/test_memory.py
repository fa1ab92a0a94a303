"""Memory that a service frees goes back to the system, also what its threads freed."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import numpy as np
import psutil
import pytest

from rporec.serving import memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

# Each of 16 threads takes memory while all are there, so that each would get an arena; glibc then says how many it has.
_ARENAS = """
import ctypes, sys, threading
from rporec.serving import memory
if sys.argv[1] == "few": memory.few_arenas()
libc, barrier = ctypes.CDLL("libc.so.6"), threading.Barrier(17)
libc.malloc.restype = ctypes.c_void_p
def take():
    for _ in range(100): libc.malloc(5000)
    barrier.wait()
threads = [threading.Thread(target=take) for _ in range(16)]
for one in threads: one.start()
barrier.wait()
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.parametrize(("how", "least", "most"), [("few", 1, 2), ("as it is", 3, 17)])
def test_threads_share_two_arenas(how: str, least: int, most: int) -> None:
    done = subprocess.run([sys.executable, "-c", _ARENAS, how], capture_output=True, text=True, check=True)
    assert least <= len(re.findall(r"<heap nr=", done.stdout)) <= most


def test_what_was_freed_below_what_stays_is_given_back() -> None:
    """Pieces so small that glibc keeps them when they are freed, with one on top that keeps its place."""
    held = [np.ones(8_000) for _ in range(3_000)]
    last = held.pop()
    full = psutil.Process().memory_info().rss
    held.clear()
    memory.give_back()
    assert full - psutil.Process().memory_info().rss > 100e6
    assert last.sum() == 8_000
