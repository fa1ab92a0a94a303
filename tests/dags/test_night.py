"""One real run of the two DAGs: Airflow with its LocalExecutor, profile tiny, until the registry has a champion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from rporec.release import lookup
from tests import project, servers

# One night of a toy market, on any machine: not its quality is tested here, so chance may not refuse it.
_SETTINGS = (
    ("schedule", "null"), ("max_p95_ms", "60000.0"), ("floor_margin", "0.05"), ("reasoning_margin", "0.05"),
    ("alignment_margin", "0.05"),
)  # fmt: skip
pytestmark = [pytest.mark.platform, pytest.mark.pipeline, pytest.mark.timeout(2400)]
DATE = "2026-01-05"
START_SECONDS, RUN_SECONDS = 240, 1500


# Not `airflow standalone`: its log servers listen on every interface and on fixed ports.
PARTS = (("scheduler", "--skip-serve-logs"), ("dag-processor",), ("api-server", "--host", "127.0.0.1"))


class Airflow:
    """A scheduler with the LocalExecutor, a DAG processor and an API server on the loopback; their REST interface."""

    def __init__(self, clone: Path, folder: Path) -> None:
        self.port = servers.free_port()
        self.log = folder / "airflow.log"
        address = f"http://127.0.0.1:{self.port}"
        settings = {
            "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__DAGS_FOLDER": str(clone / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "AIRFLOW__API__PORT": str(self.port), "AIRFLOW__API__BASE_URL": address, "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of-this-test-alone-" + "x" * 64, "RPOREC_PROFILE": "tiny",
        }  # fmt: skip
        env = project.environment(settings)
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        with self.log.open("w") as stream:
            subprocess.run(["airflow", "db", "migrate"], cwd=folder, env=env, stdout=stream, stderr=stream, check=True)
            self.parts = [
                subprocess.Popen(
                    ["airflow", *part], cwd=folder, env=env, stdout=stream, stderr=stream, start_new_session=True
                )
                for part in PARTS
            ]

    def get(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """Call the REST interface."""
        base = f"http://127.0.0.1:{self.port}"
        with urllib.request.urlopen(f"{base}/auth/token", timeout=20) as answer:
            token = json.load(answer)["access_token"]
        request = urllib.request.Request(
            f"{base}/api/v2/{path}", method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def wait(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition; servers that are not up yet count as no."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert not any(part.poll() for part in self.parts), self.log.read_text()[-3000:]
            with suppress(OSError, KeyError):
                if ready():
                    return
            time.sleep(1)
        raise AssertionError(f"{what}: not within {seconds} s\n{self.log.read_text()[-3000:]}")

    def states(self, dag: str) -> list[str]:
        """States of a DAG's runs."""
        return [run["state"] for run in self.get(f"dags/{dag}/dagRuns")["dag_runs"]]

    def living(self) -> list[psutil.Process]:
        """What lives of the three."""
        return [process for part in self.parts for process in servers.family(part)]

    def stop(self) -> None:
        """End the three and all that they started."""
        for part in self.parts:
            servers.end(part)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project.clone(tmp_path_factory.mktemp("night") / "clone")
    params = folder / "params.yaml"  # a night runs what is committed: here only the test's night, on any machine
    text = params.read_text()
    for key, value in _SETTINGS:
        text, found = re.subn(rf"^  {key}: [^#\n]+", f"  {key}: {value} ", text, flags=re.MULTILINE)
        assert found == 1, key
    params.write_text(text)
    project.git(folder, "commit", "--quiet", "--all", "--message", "settings of the test")
    return folder


@pytest.fixture(scope="module")
def airflow(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    server = Airflow(clone, tmp_path_factory.mktemp("airflow"))
    yield server
    server.stop()


def _logs(folder: Path) -> str:
    logs = sorted((folder / "logs").rglob("*.log"), key=lambda path: path.stat().st_mtime)
    return "\n".join(f"== {path}\n{path.read_text()[-1500:]}" for path in logs[-3:])


def test_the_pair_of_dags_ends_with_a_champion(airflow: Airflow, clone: Path) -> None:
    airflow.wait("both DAGs are known", lambda: len(airflow.get("dags")["dags"]) == 2, START_SECONDS)
    for dag in ("promote", "nightly_retrain"):
        airflow.get(f"dags/{dag}", {"is_paused": False}, "PATCH")
    airflow.get("dags/nightly_retrain/dagRuns", {"logical_date": f"{DATE}T02:00:00Z"})

    def ended() -> bool:
        states = airflow.states("nightly_retrain") + airflow.states("promote")
        assert "failed" not in states, _logs(airflow.log.parent)
        return airflow.states("promote") == ["success"]

    airflow.wait("both DAGs succeed", ended, RUN_SECONDS)
    champion = lookup.by_alias(lookup.default_uri(clone / "var"), "rporec-tiny", lookup.CHAMPION)
    assert champion is not None, _logs(airflow.log.parent)
    assert champion.as_of == DATE

    branch = f"nights/{DATE}"
    assert champion.tags["git_commit"] == project.git(clone, "rev-parse", branch).strip()
    committed = project.git(clone, "ls-tree", "--name-only", branch).split()
    assert {"dvc.lock", "params.yaml", "source.lock.json"} <= set(committed)
    assert f'as_of: "{DATE}"' in project.git(clone, "show", f"{branch}:params.yaml").replace("'", '"')
    assert project.git(clone, "status", "--porcelain") == "", "the checkout stays clean"
    assert (clone / "var" / "dvc" / "remote").is_dir(), "pushed to the DVC remote"
    summary = json.loads((clone / "reports" / "nights" / DATE / "summary.json").read_text())
    assert summary["version"] == champion.number


def test_stopping_leaves_no_process_behind(airflow: Airflow) -> None:
    before = airflow.living()
    assert len(before) >= len(PARTS)
    airflow.stop()
    assert not [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert airflow.living() == []
