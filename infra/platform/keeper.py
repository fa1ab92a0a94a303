"""The process that starts the parts of the platform, starts again what ends, and stops all when it is asked to.

`python -m infra.platform keep`, started by `up` alone, in a session of its own. It writes the state that others read.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.platform import health, processes, state
from infra.platform.parts import SERVICE, WAITING, Part, parts
from infra.platform.processes import Known
from infra.platform.settings import Settings
from infra.platform.state import Phase, State

log = logging.getLogger("rporec")
START_SECONDS = 900.0  # for all parts to become healthy; a busy machine needs minutes for their imports
_LOOK_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a part is started again, doubled each time
_SOUND = 120.0  # seconds of life after which the pause is the first again
_LINES = 20  # of a log, told where its part failed


@dataclass
class Running:
    """A part's process and how often it ended."""

    part: Part
    process: subprocess.Popen[bytes]
    known: Known
    since: dt.datetime
    started: float
    pause: float = _FIRST_PAUSE
    again: float | None = None  # when it is started again, on the clock of time.monotonic


def log_file(folder: Path, name: str) -> Path:
    """Return the log of a part."""
    return folder / "logs" / f"{name}.log"


class Keeper:
    """Keeps the parts of one start alive."""

    def __init__(self, settings: Settings, token: str, environment: Mapping[str, str]) -> None:
        self._settings, self._token = settings, token
        self._parts = parts(settings, environment, token)
        self._running: dict[str, Running] = {}
        self._phase: Phase = "starting"
        self._note = ""
        self._stop = False
        self._sound: set[str] = set()  # parts that have been healthy in this start

    def run(self) -> None:
        """Start all parts, watch them until asked to stop, stop them.

        A part that ends, or does not become healthy, before all are healthy fails the whole start.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._asked)
        try:
            self._start_all()
            deadline = time.monotonic() + START_SECONDS
            while not self._stop and self._phase != "failed":
                self._look(deadline)
                time.sleep(_LOOK_SECONDS)
        finally:
            failed = self._phase == "failed"
            if not failed:
                self._phase = "stopping"
                self._tell()
            processes.end((one.known, f"{self._token}.{name}") for name, one in self._running.items())
            (self._settings.folder / WAITING).unlink(missing_ok=True)
            self._running = {}
            if failed:
                self._tell()  # stays, for who waits for the start
            else:
                state.forget(self._settings.folder)

    def _asked(self, number: int, frame: object) -> None:  # noqa: ARG002 - the signature of a handler
        self._stop = True

    def _start_all(self) -> None:
        for part in self._parts:
            if self._stop:
                return
            self._running[part.name] = _start(part, self._settings.folder, "w")
            self._tell()

    def _look(self, deadline: float) -> None:
        for name, one in self._running.items():
            if one.again is not None:
                if time.monotonic() >= one.again:
                    self._start_again(name, one)
            elif one.process.poll() is not None:
                self._ended(name, one)
                if self._phase == "failed":
                    return
        if self._phase == "starting":
            self._wait_for_health(deadline)

    def _wait_for_health(self, deadline: float) -> None:
        for name, one in self._running.items():
            if name not in self._sound and health.healthy(name, self._settings, one.since):
                self._sound.add(name)
        late = [name for name in self._running if name not in self._sound]
        if not late:
            self._phase = "up"
            self._tell()
        elif time.monotonic() > deadline:
            self._fail(late[0], f"was not healthy within {START_SECONDS:.0f} s")

    def _ended(self, name: str, one: Running) -> None:
        code = one.process.returncode
        if self._phase == "starting":
            self._fail(name, f"ended with exit code {code}")
            return
        if time.monotonic() - one.started > _SOUND:
            one.pause = _FIRST_PAUSE
        log.warning("%s ended with exit code %s, is started again in %.0f s", name, code, one.pause)
        processes.end([(one.known, f"{self._token}.{name}")])  # its children must not work beside those of the next
        one.again, one.pause = time.monotonic() + one.pause, min(2 * one.pause, _LONGEST_PAUSE)

    def _start_again(self, name: str, one: Running) -> None:
        fresh = _start(one.part, self._settings.folder, "a")
        fresh.pause = one.pause
        self._running[name] = fresh
        self._tell()

    def _fail(self, name: str, how: str) -> None:
        path = log_file(self._settings.folder, name)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
        self._phase, self._note = "failed", "\n".join([f"{name} {how}; the end of {path}:", *lines])

    def _tell(self) -> None:
        known = {name: one.known for name, one in self._running.items()}
        keeper = processes.know(os.getpid())
        now = State(self._token, self._phase, keeper, known, self._settings.pages, self._note)
        state.write(self._settings.folder, now)


def _start(part: Part, folder: Path, mode: str) -> Running:
    if part.name == SERVICE:
        (folder / WAITING).unlink(missing_ok=True)
    path = log_file(folder, part.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    since = dt.datetime.now(dt.UTC)
    with path.open(mode) as stream:
        process = subprocess.Popen(
            part.command, cwd=part.folder, env=part.variables, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    return Running(part, process, processes.know(process.pid), since, time.monotonic())
