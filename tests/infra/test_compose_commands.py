"""The commands of infra/compose.yaml run as they stand: on a real PostgreSQL, MLflow and object store of the tests'."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from infra import children
from tests import postgres
from tests.infra.test_compose import BIN, SERVICES
from tests.project import ROOT, environment
from tests.waiting import until

pytestmark = pytest.mark.platform


def test_buckets_are_made_by_the_command_in_a_real_object_store(objects: str) -> None:
    from s3fs import S3FileSystem

    command = SERVICES["buckets"].command
    assert command
    keys = {"AWS_ENDPOINT_URL": objects, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for _ in range(2):  # the second time they are there
        done = _run([sys.executable, *command[1:]], **keys, AWS_DEFAULT_REGION="us-east-1")
        assert done.returncode == 0, done.stderr
    store = S3FileSystem(key="a", secret="b", endpoint_url=objects)
    assert set(store.ls("")) == {"mlflow", "dvc"}
    told = _run([sys.executable, *command[1:]], **keys | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert told.returncode == 1
    assert "cure: look at AWS_ENDPOINT_URL" in told.stderr
    assert "Traceback" not in told.stderr


def _run(command: list[str], **extra: str) -> subprocess.CompletedProcess[str]:
    env = environment({"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **extra})
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def objects() -> Iterator[str]:
    """An S3 store on a free port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.mark.parametrize(
    "name", ["mlflow", "airflow", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "service"]
)
def test_command_lines_are_understood(name: str, tmp_path: Path) -> None:
    """With --help behind it a command reads all options before it, and refuses what it does not know."""
    words = SERVICES[name].command
    assert words
    command = [*words, "--help"]
    extra = {"AIRFLOW_HOME": str(tmp_path), "BENTOML_HOME": str(tmp_path)}
    done = _run(command, **extra)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_worker_s_command_line_is_understood(tmp_path: Path) -> None:
    words = SERVICES["airflow-worker"].command
    assert words
    done = _run([*words, "--help"], AIRFLOW_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_databases_airflow_s_first_start_and_mlflow_on_a_real_postgres(tmp_path: Path) -> None:
    """The commands of the file, with its own settings; host and password are those of the test's server."""
    password = "0123abcd"
    with postgres.server() as host:
        _make_databases(host, password)
        assert {"mlflow", "rporec"} <= _databases(host, password)
        init = _run(
            list(SERVICES["airflow-init"].command or []),
            **_settings("airflow-init", host, password), AIRFLOW_HOME=str(tmp_path),
        )  # fmt: skip
        assert init.returncode == 0, init.stderr
        kept = tmp_path / "passwords.json"
        assert json.loads(kept.read_text()) == {"admin": password}
        assert kept.stat().st_mode & 0o077 == 0
        _look_at_mlflow(host, password, tmp_path)


def _make_databases(host: str, password: str) -> None:
    address, port = host.split(":")
    with psycopg.connect(
        host=address, port=port, user=postgres.USER, password=postgres.PASSWORD, dbname="postgres", autocommit=True
    ) as first:
        role = sql.SQL("CREATE ROLE rporec LOGIN SUPERUSER PASSWORD {}").format(sql.Literal(password))
        first.execute(role)
        first.execute("CREATE DATABASE airflow")
        script = (ROOT / "infra/docker/databases.sql").read_text(encoding="utf-8")
        for statement in script.split(";")[:-1]:
            first.execute(statement.encode())


def _databases(host: str, password: str) -> set[str]:
    with psycopg.connect(f"postgresql://rporec:{password}@{host}/airflow") as opened:
        return {row[0] for row in opened.execute("SELECT datname FROM pg_database")}


def _settings(name: str, host: str, password: str) -> dict[str, str]:
    """The environment of a service as Compose would give it, on this machine."""
    given = {}
    for key, value in SERVICES[name].environment.items():
        filled = re.sub(r"\$\{([A-Z_]+)[^}]*\}", password, value)
        given[key] = filled.replace("@postgres:5432", f"@{host}")
    return given


def _look_at_mlflow(host: str, password: str, folder: Path) -> None:
    """Start the server, wait for its health, and ask as its neighbours do and as a stranger would."""
    words, port = list(SERVICES["mlflow"].command or []), children.free_port()
    words[words.index("0.0.0.0")] = "127.0.0.1"
    words[words.index("5000")] = str(port)
    settings = _settings("mlflow", host, password) | {"MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts")}
    env = environment({"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **settings})
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    health = SERVICES["mlflow"].healthcheck
    assert health
    probe = [word.replace("5000", str(port)).replace("python", sys.executable, 1) for word in health.test[1:]]
    try:
        told = (folder / "log").read_text
        until("MLflow is healthy", lambda: _run(probe).returncode == 0, 300, processes=[process], told=told)
        page = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
        asked = partial(httpx.get, page, timeout=120, trust_env=False)
        for name, status in (("mlflow:5000", 200), ("127.0.0.1:5000", 200), ("evil.example", 403)):
            assert asked(headers={"Host": name}).status_code == status, name
    finally:
        children.end(process)
