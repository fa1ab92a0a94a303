"""Servers as children: all that they started ends with them, and their ports are free."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from infra import children

# A server whose worker has a session of its own; neither ends before it is asked to.
SLEEP = "import time; time.sleep(600)"
SERVER = f"""
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=OWN)
print(worker.pid, flush=True)
"""
WAITS = f"{SERVER}time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAITS}"  # and so is its worker

Start = Callable[[str], tuple["subprocess.Popen[str]", psutil.Process]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program; return it and its worker, both of which are gone after the test."""
    started: list[subprocess.Popen[str]] = []
    workers: list[psutil.Process] = []

    def begin(program: str) -> tuple[subprocess.Popen[str], psutil.Process]:
        command = [sys.executable, "-c", program]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        workers.append(psutil.Process(int(process.stdout.readline())))
        return process, workers[-1]

    yield begin
    for worker in workers:
        with suppress(psutil.Error):
            worker.kill()
    for process in started:
        process.kill()
        process.communicate()


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("own", [True, False], ids=["a session of its own", "the same session"])
def test_a_worker_ends_with_its_server(start: Start, own: bool) -> None:
    server, worker = start(WAITS.replace("OWN", str(own)))
    assert {one.pid for one in children.family(server)} == {server.pid, worker.pid}
    children.end(server, 2)
    assert server.returncode is not None
    assert gone(worker)
    assert children.family(server) == []


def test_a_worker_whose_server_has_ended_is_found_by_its_session(start: Start) -> None:
    server, worker = start(SERVER.replace("OWN", "False"))
    server.wait()
    assert children.family(server) == [worker]
    children.end(server, 20)
    assert gone(worker)


def test_who_does_not_listen_is_killed(start: Start) -> None:
    server, worker = start(DEAF.replace("OWN", "False"))
    children.end(server, 0.5)
    assert server.returncode is not None
    assert gone(worker)


def test_others_live_on(start: Start) -> None:
    (server, _), (stranger, _) = start(WAITS.replace("OWN", "True")), start(WAITS.replace("OWN", "True"))
    children.end(server, 2)
    assert stranger.poll() is None
    assert len(children.family(stranger)) == 2


def test_a_free_port_can_be_bound() -> None:
    port = children.free_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert server.getsockname()[1] == port
