"""Memory that a service frees goes back to the system, also what its threads freed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from rporec.serving import memory
from tests.project import ROOT

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")

# glibc tells how many heaps a process has, one an arena.
_TOLD = """
import ctypes
libc = ctypes.CDLL("libc.so.6")
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""
# Each of 16 threads takes memory while all are there, so that each would get an arena.
_THREADS = """
import ctypes, sys, threading
libc, barrier = ctypes.CDLL("libc.so.6"), threading.Barrier(17)
def take():
    for _ in range(100): libc.malloc(5000)
    barrier.wait()
threads = [threading.Thread(target=take) for _ in range(16)]
for one in threads: one.start()
barrier.wait()
"""
_FEW = """
from rporec.serving import memory
memory.few_arenas()
"""
# As a worker of the service begins: BentoML, then the service's own start, which ends for want of a model.
_SERVICE = """
import contextlib
from bento.service import RPORec
with contextlib.suppress(SystemExit):
    RPORec()
"""


def _arenas(code: str, folder: Path) -> int:
    ours = {"PATH": os.environ["PATH"], "RPOREC_HOME": str(folder), "BENTOML_HOME": str(folder / "bentoml")}
    done = subprocess.run(
        [sys.executable, "-c", code + _TOLD], cwd=ROOT, env=ours, capture_output=True, text=True, check=True
    )
    return len(re.findall(r"<heap nr=", done.stdout))


@pytest.mark.parametrize(("before", "least", "most"), [(_FEW, 1, 2), ("", 3, 17), (_SERVICE, 1, 2)])
def test_threads_share_two_arenas(before: str, least: int, most: int, tmp_path: Path) -> None:
    assert least <= _arenas(before + _THREADS, tmp_path) <= most


def test_what_was_freed_below_what_stays_is_given_back() -> None:
    """Pieces so small that glibc keeps them when they are freed, with one on top that keeps its place."""
    held = [np.ones(8_000) for _ in range(3_000)]
    last = held.pop()
    full = psutil.Process().memory_info().rss
    held.clear()
    memory.give_back()
    assert full - psutil.Process().memory_info().rss > 100e6
    assert last.sum() == 8_000
