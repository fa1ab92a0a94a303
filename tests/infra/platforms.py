"""A real platform of one machine for tests: in a clone, with a home of its own, on free ports, ended whole."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.platform import processes, state
from infra.platform.state import State
from tests import project

FREE = {"RPOREC_MLFLOW_PORT": "0", "RPOREC_AIRFLOW_PORT": "0", "RPOREC_SERVICE_PORT": "0", "RPOREC_PROFILE": "tiny"}
# One night of a toy market, on any machine: not its quality is tested here, so chance may not refuse it.
SETTINGS = {
    "schedule": "null", "max_p95_ms": "60000.0", "floor_margin": "0.05", "reasoning_margin": "0.05",
    "alignment_margin": "0.05",
}  # fmt: skip


@dataclass(frozen=True)
class Platform:
    """Where it runs and what it was told."""

    clone: Path
    home: Path
    extra: dict[str, str]

    def make(self, verb: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Call a verb as a user does."""
        return project.make(self.clone, verb, timeout=2000, **{**self.extra, **more})

    def state(self) -> State:
        """What runs."""
        found = state.read(self.home / "platform")
        assert found is not None
        return found

    def living(self) -> list[psutil.Process]:
        """Every process of the platform."""
        now = self.state()
        found = [one for known, mark in now.marked() for one in processes.family(known, mark)]
        return [psutil.Process(now.keeper.pid), *found]

    def get(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """Call Airflow's REST interface as the user admin."""
        base = self.state().pages["airflow"]
        who = {"username": "admin", "password": self.password()}
        token = _json(f"{base}/auth/token", who, {})["access_token"]
        return _json(f"{base}/api/v2/{path}", body, {"Authorization": f"Bearer {token}"}, method)

    def password(self) -> str:
        """Airflow's, from where the command says that it lies."""
        return str(json.loads((self.home / "airflow" / "passwords.json").read_text())["admin"])

    def logs(self) -> str:
        """The ends of all logs."""
        found = sorted((self.home / "platform" / "logs").glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in found)


@contextmanager
def running(clone: Path, home: Path, **extra: str) -> Iterator[tuple[Platform, str]]:
    """Start a platform; yield it and what the command printed; stop it."""
    one = Platform(clone, home, {**FREE, "RPOREC_HOME": str(home), **extra})
    try:
        started = one.make("platform")
        assert started.returncode == 0, started.stderr + one.logs()
        yield one, started.stdout
    finally:
        one.make("platform-down")


def with_settings(clone: Path) -> Path:
    """Commit the settings of a test's night: a night runs what is committed."""
    params = clone / "params.yaml"
    text = params.read_text()
    for key, value in SETTINGS.items():
        text, found = re.subn(rf"^  {key}: [^#\n]+", f"  {key}: {value} ", text, flags=re.MULTILINE)
        assert found == 1, key
    params.write_text(text)
    project.git(clone, "commit", "--quiet", "--all", "--message", "settings of the test")
    return clone


def wait(what: str, ready: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition; servers that are not up yet count as no."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError, KeyError):
            if ready():
                return
        time.sleep(1)
    raise AssertionError(f"{what}: not within {seconds} s")


def _json(address: str, body: dict[str, Any] | None, headers: dict[str, str], method: str | None = None) -> Any:
    request = urllib.request.Request(
        address, method=method, data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
