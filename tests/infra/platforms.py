"""A real platform of one machine for tests: in a clone, with a home of its own, on free ports, ended whole."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.platform import processes, state
from infra.platform.state import State
from tests import airflow_api, project

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
        who = {"username": "admin", "password": self.password()}
        return airflow_api.call(self.state().pages["airflow"], path, body, method, who)

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
