"""Servers as children: on free loopback ports, each started in a session of its own, and ended whole.

Not the parts of the platform, which outlive who starts them: infra/platform/processes.py.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from typing import Any

import psutil


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    """Return what lives of a server: its descendants, and what its session holds though its parent is gone."""
    found = {}
    with suppress(psutil.Error):
        root = psutil.Process(process.pid)
        found = {one.pid: one for one in (root, *root.children(recursive=True))}
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(one.pid) == process.pid:
                found[one.pid] = one
    return [one for one in found.values() if _lives(one)]


def end(process: subprocess.Popen[Any], seconds: float = 20) -> None:
    """End a server that was started with `start_new_session=True`: ask its group, wait, kill what is left.

    Workers that moved to a session of their own would outlive their parent: who belongs is asked before it ends.
    """
    members = family(process)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(members, timeout=seconds)
    for one in {*left, *family(process)}:
        with suppress(psutil.Error):
            one.kill()
    process.wait(seconds)
    psutil.wait_procs(members, timeout=seconds)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
