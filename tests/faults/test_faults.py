"""Faults during real nights of Airflow. After each: the champion is gated, the service answered all the time, nothing
is lost, the audit is whole (`World.holds`), and the night after it succeeds. The table: reports/faults.json.

The tests share one platform and stand in the order of the stages that they hit, with a stage or more between two, so
that several share a night.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import psutil
import pytest

from rporec.config import read_yaml
from tests import project
from tests.faults.clock import COMPILER
from tests.faults.nights import PROMOTE
from tests.faults.whole import objects
from tests.faults.world import Clock, World, full, world

pytestmark = [pytest.mark.platform, pytest.mark.nights, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("faults")) as found:
        yield found


def test_kill_of_a_stage(shop: World) -> None:
    run = shop.night(before="sequence").run
    shop.stage("sequence").kill()
    clock = Clock()
    assert shop.nights.reaches(run, "sequence", "success")["try_number"] > 1
    told = "its task is tried again and goes on from what is kept"
    shop.table.add("`kill -9` of a stage", told, clock.seconds, "the kill")
    shop.holds()


def test_kill_of_the_worker(shop: World) -> None:
    """The task lives on without its worker; the try that follows ends it and takes its place."""
    run = shop.night(before="cot").run
    orphan = shop.stage("cot")
    workers = [one for one in orphan.parents() if "airflow worker" in " ".join(one.cmdline())]  # and its task runner
    assert workers, [one.cmdline() for one in orphan.parents()]
    for worker in workers:
        worker.kill()
    clock = Clock()
    assert shop.nights.reaches(run, "cot", "success")["try_number"] > 1
    told = "found by its missing heartbeat (60 s here), tried again; what the dead one left running is ended"
    shop.table.add("`kill -9` of the worker", told, clock.seconds, "the kill")
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    shop.holds()


def test_kill_of_the_scheduler(shop: World) -> None:
    run = shop.night(before="align").run
    shop.stage("align")
    scheduler = shop.platform.parts["scheduler"]
    before = len(scheduler.processes)
    scheduler.kill()
    clock = Clock()
    shop.nights.reaches(run, "align", "success")
    shop.nights.wait("the night goes on", lambda: shop.nights.task(run, "evaluate")["state"] == "running")
    told = "started again by the service manager; the night goes on"
    shop.table.add("`kill -9` of the scheduler", told, clock.seconds, "the kill, to the next stage")
    assert len(scheduler.processes) == before + 1
    shop.holds()


def test_locks_left_by_a_dead_run(shop: World) -> None:
    """Of the workspace, of DVC and of git, as a machine that lost its power leaves them."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    tonight = shop.night(before="package")
    nights, git = shop.platform.clone / "runs" / "nights", shop.platform.clone / ".git"
    held = {str(nights / tonight.date / "outputs" / "package"): {"pid": dead.pid, "cmd": "dvc repro"}}
    shop.nights.reaches(tonight.run, "package", "success")
    clock = Clock()
    (nights / f".{tonight.date}.lock").write_text(f"{dead.pid} 0123456789abcdef")
    (nights / tonight.date / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"read": {}, "write": held}))
    own = Path(project.git(nights / tonight.date, "rev-parse", "--absolute-git-dir").strip())
    locks = (own / "index.lock", own / "HEAD.lock", git / f"refs/heads/nights/{tonight.date}.lock")
    for lock in locks:
        lock.touch()
    assert shop.nights.reaches(tonight.run, "finish", "success")["state"] == "success"
    assert not any(lock.exists() for lock in locks)
    told = "those of the workspace, of DVC and of git are told from living ones and dropped"
    shop.table.add("locks left by a dead run", told, clock.seconds, "they were left")
    shop.holds()


def test_kill_of_the_promotion(shop: World) -> None:
    shop.night(before="promote")
    promotion = shop.promotion()
    shop.stage("promote").kill()
    clock = Clock()
    shop.dawn()
    told = "tried again: the same MLflow run, one version, one row a move"
    shop.table.add("`kill -9` of the promotion", told, clock.seconds, "the kill")
    assert shop.nights.task(promotion, "promote", PROMOTE)["try_number"] > 1


def test_full_disk(shop: World) -> None:
    """Checkout, RPOREC_HOME and the service's store lie on the disk that is full."""
    if shop.disk is None:
        pytest.skip("this user may mount no disk to fill")
    run = shop.night(before="backbone").run
    shop.stage("backbone")
    with full(shop.disk):
        shop.nights.wait("a try fails", lambda: shop.nights.task(run, "backbone")["state"] != "running")
        _answers(shop)
    clock = Clock()
    assert shop.nights.reaches(run, "backbone", "success")["try_number"] > 1
    told = "one line says so, nothing half-written is left, the next try with space succeeds"
    shop.table.add("full disk", told, clock.seconds, "space was made")
    shop.holds()


def test_database_connections_dropped(shop: World) -> None:
    """Those of Airflow, of MLflow and of the audit; the service goes on without MLflow's answer."""
    if not shop.platform.address:
        pytest.skip("no PostgreSQL is installed here")
    run = shop.night(before="evaluate").run
    shop.stage("evaluate")
    own = "pid <> pg_backend_pid() AND datname IN ('airflow', 'mlflow', 'rporec')"
    dropped = len(shop.platform.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {own}"))
    assert dropped
    clock = Clock()
    shop.nights.reaches(run, "evaluate", "success")
    told = f"all {dropped} connections ended; each part connects anew"
    shop.table.add("database connections dropped", told, clock.seconds, "the drop")
    shop.holds()


def test_mlflow_down_and_back(shop: World) -> None:
    shop.night(before="gate")
    promotion = shop.promotion()
    shop.platform.down("mlflow")
    shop.nights.wait("the gate meets it", lambda: shop.nights.said(PROMOTE, "gate", "does not answer"))
    _answers(shop)
    shop.platform.up("mlflow")
    clock = Clock()
    assert shop.nights.reaches(promotion, "gate", "success", PROMOTE)["state"] == "success"
    told = "stages never ask it; gate and promotion wait for it; users keep their model"
    shop.table.add("MLflow down, then back", told, clock.seconds, "it was let up")
    shop.holds()


def test_dvc_remote_unreachable(shop: World) -> None:
    """The night's package is promoted; what the remote lacks is owed, lineage says so, the next night pays."""
    home = shop.platform.home
    remote, away = home / "dvc" / "remote", home / "dvc" / "away"
    shop.dawn()
    shop.night(before="sequence")
    remote.rename(away)
    remote.write_text("no folder: nothing can be written below it")
    champion = shop.dawn()
    assert list((home / "dvc" / "owed").glob("*.json"))
    assert "owed to it since" in _lineage(shop, champion.number)
    remote.unlink()
    away.rename(remote)
    clock = Clock()
    run = shop.night(before="prepare").run
    shop.nights.reaches(run, "finish", "success")
    told = "the package is promoted, `make lineage` tells what is owed, the next night pays it"
    shop.table.add("DVC remote unreachable", told, clock.seconds, "it was back (a whole night)")
    assert not list((home / "dvc" / "owed").glob("*.json"))
    entries = read_yaml(project.git(shop.platform.clone, "show", f"nights/{champion.as_of}:dvc.lock"))["stages"]
    assert all(path.exists() for path in objects(remote, entries))
    assert "owed" not in _lineage(shop, champion.number)


@pytest.mark.parametrize(
    ("what", "told"), [("half_corrupt", "every second row corrupt"), ("no_titles", "all titles empty")]
)
def test_a_poisoned_night(shop: World, what: str, told: str) -> None:
    """It is stopped before anything is trained, and the next delivery is taken without hands."""
    champion = shop.dawn()
    getattr(shop.deliveries, what)()
    run = shop.night(before="prepare").run
    shop.stopped()
    states = {task: shop.nights.task(run, task)["state"] for task in ("ingest", "validate", "sequence")}
    assert "failed" in states.values()
    assert states["sequence"] == "upstream_failed"
    assert shop.holds().number == champion.number
    shop.deliveries.good()
    clock = Clock()
    shop.night(before="prepare")
    shop.dawn()
    stopped = "ingest" if states["ingest"] == "failed" else "validate"
    happened = f"`{stopped}` stops the night, the champion stays, the next night takes the next delivery"
    shop.table.add(f"poisoned night: {told}", happened, clock.seconds, "good data came (a whole night)")


def test_the_same_night_twice(shop: World) -> None:
    """Once more by the same name, which Airflow refuses, and once more for the same date, which changes nothing."""
    date = shop.night(before="finish").date
    version = shop.dawn()
    commit = project.git(shop.platform.clone, "rev-parse", f"nights/{date}")
    clock = Clock()
    assert shop.nights.asked_again(date) == 409
    assert shop.nights.ended(shop.nights.begin(date, hour=3)) == "success"
    shop.nights.wait("promotions end", lambda: all(shop.nights.over(run) for run in shop.nights.runs(PROMOTE)))
    assert shop.nights.runs(PROMOTE)[-1]["state"] == "success"
    assert shop.holds().number == version.number
    assert project.git(shop.platform.clone, "rev-parse", f"nights/{date}") == commit
    told = "same bytes, same commit, same version; nothing is judged or promoted again"
    shop.table.add("the same night twice", told, clock.seconds, "it was asked for again (all cached)")


@pytest.mark.skipif(COMPILER is None, reason="no C compiler is installed here (Debian: apt-get install gcc libc6-dev)")
def test_clock_goes_back_an_hour(shop: World) -> None:
    """The clock of the whole platform, in the middle of a stage: it was fast, and is set right.

    Airflow starts nothing of a run that is due by its own clock an hour from now. The hour is over at once here.
    """
    run = shop.night(before="sequence").run
    shop.stage("sequence")
    assert _skew(shop) == pytest.approx(3600, abs=60)
    shop.clock.back()
    shop.nights.wait("the clock is back", lambda: abs(_skew(shop)) < 60, 60)
    shop.nights.wait("the stage ends", lambda: shop.nights.task(run, "sequence")["state"] != "running")
    _answers(shop)
    shop.holds()
    assert shop.nights.task(run, "backbone")["state"] is None
    shop.clock.caught_up()
    clock = Clock()
    assert shop.nights.reaches(run, "sequence", "success")["state"] == "success"
    seconds = clock.seconds
    shop.dawn()
    told = "users notice nothing; Airflow leaves the night alone until the hour is over, then goes on without hands"
    shop.table.add("clock back by an hour", told, seconds, "the hour was over, to the end of the stage")


def test_a_quiet_night_ends_it(shop: World) -> None:
    shop.dawn()
    date = shop.night(before="prepare").date
    shop.dawn()
    assert (shop.platform.clone / "reports" / "nights" / date / "summary.json").exists()
    assert project.git(shop.platform.clone, "status", "--porcelain") == "", "the checkout stays clean"


def _answers(shop: World) -> None:
    """Wait until users were answered a few times more."""
    asked = shop.watch.asked
    shop.nights.wait("more answers", lambda: shop.watch.asked > asked + 8)


def _skew(shop: World) -> float:
    """Return how far a server's clock is before ours [s]."""
    with urllib.request.urlopen(f"{shop.platform.url('airflow')}/api/v2/version", timeout=60) as answer:
        return parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()


def _lineage(shop: World, number: int) -> str:
    env = project.environment({**shop.platform.env, "VERSION": str(number), "PROFILE": "tiny"})
    command = [sys.executable, "-m", "infra.lineage"]
    return subprocess.run(command, cwd=shop.platform.clone, env=env, capture_output=True, text=True, check=True).stdout
