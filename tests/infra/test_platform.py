"""`make platform` and `make platform-down`: what they refuse, what they start, keep alive, and stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as TooLate
from sqlalchemy.engine import make_url

from infra import children, pipeline
from infra.platform import keeper, processes, settings, state
from infra.platform.parts import MARK, Part
from infra.platform.processes import Known
from rporec import config
from rporec.errors import InputError
from tests import browser, project
from tests.dags.test_night import DAGS
from tests.infra import platforms
from tests.infra.platforms import Platform
from tests.waiting import until

_PATIENCE = 180_000  # milliseconds; ends a test that hangs, on a machine however busy
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


def read(tmp_path: Path, **environment: str) -> settings.Settings:
    return settings.read(project.ROOT, {"RPOREC_HOME": str(tmp_path), **platforms.FREE, **environment})


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DATABASE_URL", "mysql://ada:hush@db/rporec", "no address of a PostgreSQL"),
        ("DATABASE_URL", "not an address: hush", "no address of a PostgreSQL"),
        ("REDIS_URL", "redis://:hush@queue:6379/0", "needs a PostgreSQL"),
        ("RPOREC_MLFLOW_PORT", "http", "this is no port"),
        ("RPOREC_AIRFLOW_PORT", "70000", "this is no port"),
        ("RPOREC_PROFILE", "imaginary", "profile"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_without_its_password(
    variable: str, value: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words) as told:
        read(tmp_path, **{variable: value})
    assert "hush" not in told.value.message()


def test_ports_are_free_ones_or_those_of_the_profile(tmp_path: Path) -> None:
    free = read(tmp_path).ports
    assert len(set(free.values())) == 3
    usual = settings.read(project.ROOT, {"RPOREC_HOME": str(tmp_path)})
    assert usual.pages == {
        "mlflow": "http://127.0.0.1:5000", "airflow": "http://127.0.0.1:8080", "service": "http://127.0.0.1:3000",
    }  # fmt: skip
    assert usual.profile == "nightly"


def test_schemas_of_one_database_keep_user_password_and_options(tmp_path: Path) -> None:
    found = read(tmp_path, DATABASE_URL="postgres://ada:h%40p%25@db:1/rporec?options=-cx%3D1").database
    assert found is not None
    assert "h@p" not in repr(found)
    inner = make_url(settings.inside(found, "airflow"))
    assert (inner.drivername, inner.password) == ("postgresql+psycopg", "h@p%")
    assert inner.query["options"] == "-cx=1 -csearch_path=airflow"


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = project.environment({**platforms.FREE, "RPOREC_HOME": str(tmp_path), "RPOREC_MLFLOW_PORT": port})
        command = [sys.executable, "-m", "infra.platform", "up"]
        done = subprocess.run(command, cwd=project.ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"port {port} is in use" in done.stderr
    assert "RPOREC_MLFLOW_PORT" in done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["lock", "platform"]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of a test, ended with it."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for one in found:
        children.end(one)


def start(found: list[subprocess.Popen[bytes]], command: tuple[str, ...] = SLEEP, **variables: str) -> Known:
    process = subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True)
    found.append(process)
    return processes.know(process.pid)


def leave(folder: Path, known: Known, token: str = "t") -> None:
    left = state.State(token, "up", Known(known.pid, known.born + 1), {"a": known}, {}, "")
    folder.mkdir(parents=True, exist_ok=True)
    state.write(folder, left)


def test_what_a_dead_keeper_left_is_stopped_and_a_stranger_is_not(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """Also a task in a session of its own, whose parent is gone: it bears the mark."""
    ours, task, stranger = start(started), start(started, **{MARK: "t.a"}), start(started, **{MARK: "other.a"})
    leave(tmp_path, ours)
    assert state.stop_leftovers(tmp_path)
    assert [processes.alive(one) for one in (ours, task, stranger)] == [False, False, True]
    assert state.read(tmp_path) is None
    assert not state.stop_leftovers(tmp_path)


def test_a_number_that_was_given_anew_is_somebody_else(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    stranger = start(started)
    leave(tmp_path, Known(stranger.pid, stranger.born - 1))
    assert not state.stop_leftovers(tmp_path)
    assert processes.alive(stranger)
    assert state.read(tmp_path) is None


def test_a_part_that_dies_at_its_start_is_named_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, others = read(tmp_path), psutil.Process().children()
    broken = (sys.executable, "-c", "for n in range(99): print('line', n)\nraise SystemExit(3)")
    env = dict(os.environ)
    plan = [Part("one", SLEEP, tmp_path, env), Part("two", broken, tmp_path, env)]
    monkeypatch.setattr(keeper, "parts", lambda *given: plan)
    monkeypatch.setattr(keeper.health, "healthy", lambda *given: False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        keeper.Keeper(chosen, "t", env).run()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    told = state.read(chosen.folder)
    assert told is not None
    assert told.phase == "failed"
    assert told.note.startswith("two ended with exit code 3")
    assert told.note.endswith("line 98")
    assert "line 1\n" not in told.note
    assert told.parts == {}
    left = [one for one in psutil.Process().children() if one not in others]
    assert not [one for one in left if one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project.clone(tmp_path_factory.mktemp("platform") / "clone")


@pytest.fixture(scope="module")
def sqlite(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, str]]:
    with platforms.running(clone, tmp_path_factory.mktemp("home") / "var") as found:
        yield found


def missing(page: Page, *texts: str) -> list[str]:
    """Return which texts do not come to stand on the page, alone and visible."""
    found = []
    for text in texts:
        try:
            page.get_by_text(text, exact=True).filter(visible=True).first.wait_for(timeout=_PATIENCE)
        except TooLate:
            found.append(text)
    return found


@pytest.mark.platform
@pytest.mark.timeout(2400)
class TestOnSqlite:
    """One platform, from its start to its end; the tests are in this order."""

    def test_it_says_where_all_is(self, sqlite: tuple[Platform, str], clone: Path) -> None:
        platform, printed = sqlite
        for page in platform.state().pages.values():
            assert page in printed
        password = platform.home / "airflow" / "passwords.json"
        assert str(password) in printed
        assert password.stat().st_mode & 0o077 == 0
        assert platform.password() not in printed
        assert "waits for the first champion" in printed
        assert set(platform.state().parts) == {
            "mlflow", "service", "airflow", "scheduler", "dag-processor", "triggerer",
        }  # fmt: skip
        assert project.git(clone, "status", "--porcelain") == ""

    def test_all_listen_on_the_loopback_alone(self, sqlite: tuple[Platform, str]) -> None:
        heard = {
            (found.laddr.ip, one.name())
            for one in sqlite[0].living()
            for found in one.net_connections("inet")
            if found.status == psutil.CONN_LISTEN
        }
        assert {address for address, _ in heard} == {"127.0.0.1"}, heard

    def test_a_second_start_says_that_it_runs(self, sqlite: tuple[Platform, str]) -> None:
        before = sqlite[0].state()
        again = sqlite[0].make("platform")
        assert again.returncode == 0
        assert "runs already" in again.stdout
        assert sqlite[0].state() == before

    @browser.wanted
    def test_the_pages_are_pages(self, sqlite: tuple[Platform, str], tmp_path: Path) -> None:
        platform, _ = sqlite
        pages = platform.state().pages
        with browser.browser(browser.DESK, pages["airflow"]) as seen:
            seen.page.set_default_timeout(_PATIENCE)
            seen.page.goto(pages["airflow"])
            seen.page.fill("input[name=username]", "admin")
            seen.page.fill("input[name=password]", platform.password())
            seen.page.click("button[type=submit]")
            seen.page.wait_for_url(re.compile(r"/$|/home"))
            seen.page.goto(f"{pages['airflow']}/dags")
            schedule = config.load(project.ROOT / "params.yaml").nights.schedule
            assert missing(seen.page, *sorted(DAGS), schedule) == []
            seen.page.screenshot(path=tmp_path / "airflow.png")
            seen.page.goto(f"{pages['airflow']}/dags/nightly_retrain")
            assert missing(seen.page, "nightly_retrain", *pipeline.stage_names(project.ROOT)) == []
            seen.page.screenshot(path=tmp_path / "nightly_retrain.png")
        with browser.browser(browser.DESK, pages["mlflow"]) as seen:
            seen.page.set_default_timeout(_PATIENCE)
            seen.page.goto(f"{pages['mlflow']}/#/models")
            assert missing(seen.page, "Registered Models", "Create model") == []
            seen.page.screenshot(path=tmp_path / "mlflow.png")
            seen.page.goto(f"{pages['mlflow']}/#/experiments")
            assert missing(seen.page, "Experiments", "Default") == []

    def test_a_killed_scheduler_is_started_again(self, sqlite: tuple[Platform, str]) -> None:
        platform, _ = sqlite
        before = platform.state().parts["scheduler"]
        os.kill(before.pid, signal.SIGKILL)
        until("another scheduler", lambda: platform.state().parts["scheduler"] != before, 300)
        assert processes.alive(platform.state().parts["scheduler"])

    def test_the_end_leaves_no_process_and_no_state(self, sqlite: tuple[Platform, str]) -> None:
        platform, _ = sqlite
        living = platform.living()
        assert len(living) > len(platform.state().parts)
        done = platform.make("platform-down")
        assert done.returncode == 0, done.stderr
        assert "was stopped" in done.stdout
        assert [one for one in living if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
        assert state.read(platform.home / "platform") is None
        assert "does not run" in platform.make("platform-down").stdout


@pytest.mark.platform
@pytest.mark.timeout(2400)
def test_after_a_killed_keeper_the_end_is_an_end_too(clone: Path, tmp_path: Path) -> None:
    with platforms.running(clone, tmp_path / "var") as (platform, _):
        living = platform.living()
        os.kill(platform.state().keeper.pid, signal.SIGKILL)
        time.sleep(1)
        assert any(one.is_running() for one in living[1:])
        assert "was stopped" in platform.make("platform-down").stdout
        assert [one for one in living if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
