"""One real run of the two DAGs: Airflow with its LocalExecutor, profile tiny, until the registry has a champion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import children
from rporec.release import lookup
from tests import airflow_api, project
from tests.dags.receiver import Receiver
from tests.in_thread import running
from tests.waiting import until

# One night of a toy market, on any machine: not its quality is tested here, so chance may not refuse it.
_SETTINGS = {
    "schedule": "null", "max_p95_ms": "60000.0", "smoke_seconds": "900.0", "floor_margin": "0.05",
    "reasoning_margin": "0.05", "alignment_margin": "0.05", "deadline_minutes": "0.05", "notify": "[hook]",
}  # fmt: skip
pytestmark = [pytest.mark.platform, pytest.mark.pipeline, pytest.mark.timeout(2400)]
DATE = "2026-01-05"
START_SECONDS, RUN_SECONDS = 600, 1500


# Not `airflow standalone`: its log servers listen on every interface and on fixed ports.
PARTS = (
    ("scheduler", "--skip-serve-logs"), ("dag-processor",), ("triggerer", "--skip-serve-logs"),
    ("api-server", "--host", "127.0.0.1"),
)  # fmt: skip
DAGS = {"nightly_retrain", "promote", "reproduce", "monitor", "housekeeping"}


class Airflow:
    """A scheduler with the LocalExecutor, a DAG processor and an API server on the loopback; their REST interface."""

    def __init__(self, clone: Path, folder: Path, **extra: str) -> None:
        self.port = children.free_port()
        self.log = folder / "airflow.log"
        address = f"http://127.0.0.1:{self.port}"
        settings = {
            "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__DAGS_FOLDER": str(clone / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "AIRFLOW__API__PORT": str(self.port), "AIRFLOW__API__BASE_URL": address, "AIRFLOW__API__WORKERS": "1",
            "PYTHONPATH": str(clone / "dags"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "of-this-test-alone-" + "x" * 64, "RPOREC_PROFILE": "tiny",
        }  # fmt: skip
        env = self.env = project.environment({**settings, **extra})
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        with self.log.open("w") as stream:
            subprocess.run(["airflow", "db", "migrate"], cwd=folder, env=env, stdout=stream, stderr=stream, check=True)
            command = [sys.executable, "-m", "infra.airflow_setup"]
            subprocess.run(command, cwd=clone, env=env, stdout=stream, stderr=stream, check=True)
        self.parts = [self._start(part) for part in PARTS]

    def _start(self, part: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with self.log.open("a") as stream:
            return subprocess.Popen(
                ["airflow", *part], cwd=self.log.parent, env=self.env, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip

    @contextmanager
    def without_scheduler(self) -> Iterator[None]:
        """Take the scheduler down until the block ends."""
        children.end(self.parts[0])
        yield
        self.parts[0] = self._start(PARTS[0])

    def get(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """Call the REST interface."""
        return airflow_api.call(f"http://127.0.0.1:{self.port}", path, body, method)

    def wait(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition; servers that are not up yet count as no."""
        until(what, ready, seconds, processes=self.parts, told=self.log.read_text, pause=1)

    def states(self, dag: str) -> list[str]:
        """States of a DAG's runs."""
        return [run["state"] for run in self.get(f"dags/{dag}/dagRuns")["dag_runs"]]

    def dags(self) -> set[str]:
        """Names of the DAGs that Airflow has found."""
        return {dag["dag_id"] for dag in self.get("dags")["dags"]}

    def living(self) -> list[psutil.Process]:
        """What lives of the three."""
        return [process for part in self.parts for process in children.family(part)]

    def stop(self) -> None:
        """End the three and all that they started."""
        for part in self.parts:
            children.end(part)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project.commit_settings(project.clone(tmp_path_factory.mktemp("night") / "clone"), _SETTINGS)


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    """A web server that is told of failures and late nights."""
    with running(Receiver()) as server:
        yield server


@pytest.fixture(scope="module")
def airflow(clone: Path, hook: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    connection = json.dumps({"conn_type": "http", "host": "127.0.0.1", "port": hook.server_port})
    server = Airflow(clone, tmp_path_factory.mktemp("airflow"), AIRFLOW_CONN_HOOK=connection)
    yield server
    server.stop()


def logs(folder: Path) -> str:
    """Return the ends of the newest logs of tasks."""
    logs = sorted((folder / "logs").rglob("*.log"), key=lambda path: path.stat().st_mtime)
    return "\n".join(f"== {path}\n{path.read_text()[-1500:]}" for path in logs[-3:])


def test_the_pair_of_dags_ends_with_a_champion(airflow: Airflow, clone: Path) -> None:
    airflow.wait("the DAGs are known", lambda: airflow.dags() == DAGS, START_SECONDS)
    for dag in ("promote", "nightly_retrain"):
        airflow.get(f"dags/{dag}", {"is_paused": False}, "PATCH")
    airflow.get("dags/nightly_retrain/dagRuns", {"logical_date": f"{DATE}T02:00:00Z"})

    def ended() -> bool:
        states = airflow.states("nightly_retrain") + airflow.states("promote")
        assert "failed" not in states, logs(airflow.log.parent)
        return airflow.states("promote") == ["success"]

    airflow.wait("both DAGs succeed", ended, RUN_SECONDS)
    champion = lookup.by_alias(lookup.default_uri(clone / "var"), "rporec-tiny", lookup.CHAMPION)
    assert champion is not None, logs(airflow.log.parent)
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


def test_a_late_night_was_told(airflow: Airflow, hook: Receiver) -> None:
    """The deadline of the night above is three seconds."""
    airflow.wait("the notice", lambda: bool(hook.got), RUN_SECONDS)
    assert [(body["event"], body["dag_id"]) for _, _, body in hook.got] == [("late", "nightly_retrain")]


def test_the_monitor_fails_without_a_service_and_that_is_told(airflow: Airflow, hook: Receiver) -> None:
    airflow.get("dags/monitor", {"is_paused": False}, "PATCH")
    airflow.get("dags/monitor/dagRuns", {"logical_date": None})
    airflow.wait("the look fails", lambda: "failed" in airflow.states("monitor"), RUN_SECONDS)
    airflow.wait("it is told", lambda: hook.got[-1][2]["event"] == "failed", RUN_SECONDS)
    assert hook.got[-1][2]["task_id"] == "monitor"


def test_stopping_leaves_no_process_behind(airflow: Airflow) -> None:
    before = airflow.living()
    assert len(before) >= len(PARTS)
    airflow.stop()
    assert not [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert airflow.living() == []
