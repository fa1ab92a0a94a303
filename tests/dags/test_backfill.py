"""A range of nights by the real `airflow backfill`, two at once; the same night again; what comes after the nights."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rporec.release import lookup
from tests import project
from tests.dags.test_night import DAGS, RUN_SECONDS, START_SECONDS, Airflow, logs
from tests.worlds import fingerprint

pytestmark = [pytest.mark.platform, pytest.mark.nights, pytest.mark.pipeline, pytest.mark.timeout(3000)]
FIRST, SECOND = "2026-01-05", "2026-01-06"
# The schedule has these two nights alone, so that Airflow makes no run of its own beside them.
_SETTINGS = {
    "schedule": '"0 2 5,6 1 *"', "max_p95_ms": "60000.0", "smoke_seconds": "900.0", "floor_margin": "0.05",
    "reasoning_margin": "0.05", "alignment_margin": "0.05", "champion_margin": "0.05", "slice_margin": "0.5",
    "pool_slots": "2",
}  # fmt: skip


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project.commit_settings(project.clone(tmp_path_factory.mktemp("backfill") / "clone"), _SETTINGS)


@pytest.fixture(scope="module")
def airflow(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("airflow")
    # A backfill writes while the scheduler does: on sqlite one waits for the other.
    patient = f"sqlite:///{folder / 'airflow.db'}?timeout=120"
    server = Airflow(clone, folder, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=patient)
    yield server
    server.stop()


def _backfill(airflow: Airflow, first: str, last: str, *words: str) -> None:
    command = ["airflow", "backfill", "create", "--dag-id", "nightly_retrain"]
    dates = ["--from-date", first, "--to-date", f"{last}T23:00:00"]
    done = subprocess.run(
        [*command, *dates, *words], env=airflow.env, cwd=airflow.log.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _wait_for_nights(airflow: Airflow, many: int) -> None:
    def ended() -> bool:
        states = airflow.states("nightly_retrain")
        assert "failed" not in states, logs(airflow.log.parent)
        return states.count("success") == many and len(states) == many

    airflow.wait("the nights end", ended, RUN_SECONDS)


def _command(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=clone, env=project.environment({"RPOREC_PROFILE": "tiny"}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_two_nights_at_once_each_in_its_own_place(airflow: Airflow, clone: Path) -> None:
    airflow.wait("the DAGs are known", lambda: airflow.dags() == DAGS, START_SECONDS)
    _backfill(airflow, FIRST, SECOND, "--max-active-runs", "2")
    airflow.get("dags/nightly_retrain", {"is_paused": False}, "PATCH")
    _wait_for_nights(airflow, 2)
    runs = airflow.get("dags/nightly_retrain/dagRuns")["dag_runs"]
    begun, ended = (sorted(run[key] for run in runs) for key in ("start_date", "end_date"))
    assert begun[1] < ended[0], "they ran side by side"
    for date in (FIRST, SECOND):
        shown = project.git(clone, "show", f"nights/{date}:params.yaml")
        assert re.search(rf"as_of: ['\"]?{date}", shown)
    assert project.git(clone, "status", "--porcelain") == ""


def test_packages_that_arrive_together_are_one_promotion_of_the_newest(airflow: Airflow, clone: Path) -> None:
    """As while the scheduler is away. For a DAG that is paused, as `promote` was until now, Airflow keeps no events."""
    airflow.get("dags/promote", {"is_paused": False}, "PATCH")
    events = airflow.get("assets/events?order_by=timestamp")["asset_events"]
    assert [event["extra"]["date"] for event in events] == [FIRST, SECOND]
    with airflow.without_scheduler():
        for event in events:
            airflow.get("assets/events", {key: event[key] for key in ("asset_id", "extra")})

    def ended() -> bool:
        states = airflow.states("promote")
        assert "failed" not in states, logs(airflow.log.parent)
        return bool(states) and set(states) == {"success"}

    airflow.wait("the promotion ends", ended, RUN_SECONDS)
    assert airflow.states("promote") == ["success"]
    champion = lookup.by_alias(lookup.default_uri(clone / "var"), "rporec-tiny", lookup.CHAMPION)
    assert champion is not None
    assert champion.as_of == SECOND
    told = "\n".join(path.read_text() for path in (airflow.log.parent / "logs").rglob("*.log"))
    assert f"of night {FIRST} is superseded by night {SECOND}" in told
    assert "version 1 of rporec-tiny answers" in told, "the smoke test"


def test_an_old_night_again_gives_the_same_bytes(airflow: Airflow, clone: Path) -> None:
    root, commit = clone / "runs/nights" / FIRST, project.git(clone, "rev-parse", f"nights/{FIRST}")
    before = fingerprint(root / "outputs")
    shutil.rmtree(root)
    shutil.rmtree(clone / "var/dvc/cache/runs")
    airflow.get("dags/promote", {"is_paused": True}, "PATCH")
    _backfill(airflow, FIRST, FIRST, "--reprocess-behavior", "completed")
    airflow.wait("it begins", lambda: root.is_dir(), START_SECONDS)
    _wait_for_nights(airflow, 2)
    assert fingerprint(root / "outputs") == before
    assert {path.stem for path in (root / "records").glob("*.json")} >= {"ingest", "align", "package"}, "it really ran"
    assert project.git(clone, "rev-parse", f"nights/{FIRST}") == commit


def test_the_commands_of_the_page_work_after_the_nights(clone: Path) -> None:
    tidied = _command(clone, "infra.housekeeping", "--dry-run")
    assert tidied.returncode == 0, tidied.stderr
    assert json.loads((clone / "reports/housekeeping.json").read_text())["worktrees"] == [], "they are young"
    watched = _command(clone, "infra.monitor")
    assert watched.returncode == 1
    assert "does not answer" in watched.stderr
