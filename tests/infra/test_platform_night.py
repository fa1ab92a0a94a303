"""A night on PostgreSQL, Celery and Redis, as `make platform` starts them; and none of its secrets lies anywhere after.

What is asked here of every file, row and command line is point 8 of the platform's promise: secrets come from the
environment alone.
"""

from __future__ import annotations

import os
import re
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg
import pytest
import redis
from psycopg import sql

from infra.platform.parts import MARK
from tests import postgres, project
from tests.infra import platforms
from tests.infra.platforms import Platform
from tests.redis_server import redis_url  # noqa: F401 - a fixture
from tests.waiting import until

pytestmark = [pytest.mark.platform, pytest.mark.pipeline, pytest.mark.timeout(5400)]
DATE = "2026-01-05"
PLANTED = {
    "RPOREC_SIGNING_KEY": secrets.token_hex(32),
    "RPOREC_ADMIN_KEY": secrets.token_hex(16),
    "RPOREC_TEACHER_KEY": secrets.token_hex(16),
    "AWS_ACCESS_KEY_ID": secrets.token_hex(16),
    "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
}
PASSWORD = quote(postgres.PASSWORD, safe="")
SECRETS = {**PLANTED, "DATABASE_URL": postgres.PASSWORD}
OWN = "tests/postgres.py"  # says the password of the tests' own servers


@dataclass(frozen=True)
class Night:
    """A platform whose night has ended, and its databases."""

    platform: Platform
    database: str
    queue: str
    printed: str


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Night]:  # noqa: F811
    clone = project.commit_settings(project.clone(tmp_path_factory.mktemp("celery") / "clone"), platforms.SETTINGS)
    home = tmp_path_factory.mktemp("celery-home") / "var"
    with postgres.server() as host:
        database = f"postgresql://{postgres.USER}:{quote(postgres.PASSWORD, safe='')}@{host}/postgres"
        extra = {**PLANTED, "DATABASE_URL": database, "REDIS_URL": redis_url}
        with platforms.running(clone, home, **extra) as (platform, printed):
            yield Night(platform, database, redis_url, printed)


def test_a_night_ends_with_a_champion_that_the_service_serves(night: Night) -> None:
    platform = night.platform
    assert "worker" in platform.state().parts
    until("both DAGs are known", lambda: len(platform.get("dags")["dags"]) >= 2, 600)
    for dag in ("promote", "nightly_retrain"):
        platform.get(f"dags/{dag}", {"is_paused": False}, "PATCH")
    platform.get("dags/nightly_retrain/dagRuns", {"logical_date": f"{DATE}T02:00:00Z"})

    def ended() -> bool:
        states = [run["state"] for dag in ("nightly_retrain", "promote") for run in _runs(platform, dag)]
        assert "failed" not in states, _task_logs(platform.home)
        return [run["state"] for run in _runs(platform, "promote")] == ["success"]

    until("both DAGs succeed", ended, 3000)
    page = platform.state().pages["service"]
    until("the service follows", lambda: bool(urllib.request.urlopen(f"{page}/readyz", timeout=10)), 600)
    with urllib.request.urlopen(f"{page}/model", timeout=60) as answer:
        assert b'"rporec-tiny"' in answer.read()
    shell = {
        "PROFILE": "tiny",
        "MLFLOW_TRACKING_URI": platform.state().pages["mlflow"],
        "RPOREC_AUDIT_URL": night.database.replace("postgresql://", "postgresql+psycopg://"),
    }
    told = platform.make("versions", **shell)
    assert told.returncode == 0, told.stderr
    assert "champion" in told.stdout, "commands in a shell see the same registry"


def _runs(platform: Platform, dag: str) -> list[dict[str, str]]:
    return list(platform.get(f"dags/{dag}/dagRuns")["dag_runs"])


def _task_logs(home: Path) -> str:
    logs = sorted((home / "airflow" / "logs").rglob("*.log"), key=lambda path: path.stat().st_mtime)
    return "\n".join(f"== {path}\n{path.read_text()[-1500:]}" for path in logs[-3:])


def forms(secret: str) -> set[bytes]:
    """A secret as it is, and as it stands in an address."""
    return {form.encode() for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))}


def found_in(text: bytes) -> list[str]:
    """The names of the secrets that a text holds."""
    return [name for name, secret in SECRETS.items() if any(form in text for form in forms(secret))]


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_that_lies_about_is_found(name: str, tmp_path: Path) -> None:
    assert found_in(b"password=" + quote_plus(SECRETS[name]).encode() + b"\n") == [name]


def test_secrets_were_there(night: Night) -> None:
    """Else none would be found anywhere."""
    token = night.platform.state().token
    living = [one.pid for one in night.platform.living()]
    service = [pid for pid in living if _mark(pid) == f"{token}.service".encode()]
    # As the kernel has it: psutil stops at the first empty entry, and a process that names itself leaves some.
    held = b"".join(Path(f"/proc/{pid}/environ").read_bytes() for pid in service)
    assert {*PLANTED, "DATABASE_URL"} <= set(found_in(held))


def _mark(pid: int) -> bytes:
    try:
        return dict(re.findall(rb"([A-Z_]+)=([^\0]*)", Path(f"/proc/{pid}/environ").read_bytes())).get(
            MARK.encode(), b""
        )
    except OSError:
        return b""


def test_no_file_of_the_night_holds_a_secret(night: Night) -> None:
    """Worktree, outputs, reports, logs, MLflow's artefacts, DVC's cache and remote, the package."""
    looked = 0
    for top in (night.platform.clone, night.platform.home):
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and not path.as_posix().endswith(f"/{OWN}"):
                    looked += 1
                    assert found_in(path.read_bytes()) == [], path
    assert looked > 500
    for part in ("airflow/logs", "platform/logs", "mlartifacts", "dvc/cache", "dvc/remote"):
        assert any((night.platform.home / part).rglob("*")), part
    assert (night.platform.clone / "runs" / "nights" / DATE / "outputs" / "package").is_dir()
    assert found_in(project.git(night.platform.clone, "log", "--all", "--patch", "--", ".", f":!{OWN}").encode()) == []
    assert found_in(night.printed.encode()) == []


def test_no_row_of_a_database_holds_a_secret(night: Night) -> None:
    """Airflow's, MLflow's (runs, tags, params) and the audit; what waits in Redis."""
    rows = 0
    with psycopg.connect(night.database) as opened:
        tables = opened.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('airflow', 'mlflow', 'public')"
        ).fetchall()
        for schema, table in tables:
            query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            for (row,) in opened.execute(query):
                rows += 1
                assert found_in(row.encode()) == [], f"{schema}.{table}"
    assert {schema for schema, _ in tables} == {"airflow", "mlflow", "public"}
    assert rows > 200
    queue = redis.Redis.from_url(night.queue)
    for key in queue.scan_iter():
        assert found_in(queue.dump(key) or b"") == [], key


def test_no_command_line_holds_a_secret(night: Night) -> None:
    for one in night.platform.living():
        assert found_in("\0".join(one.cmdline()).encode()) == [], one.name()
