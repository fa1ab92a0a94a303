"""A whole platform for the fault tests: database, MLflow server, Airflow and the service, each a process of its own.

A keeper starts again what dies, as a service manager does; a part that a test takes down stays down until it is let up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

from infra import children
from tests import postgres, project

DATABASES = ("airflow", "mlflow", "rporec")
# What a fault leaves waiting is found within seconds instead of Airflow's minutes.
_QUICK = {
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # a busy machine answers late
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
}


@dataclass
class Part:
    """One server: how it is started, and its process."""

    name: str
    command: tuple[str, ...]
    folder: Path
    env: dict[str, str]
    log: Path
    wanted: bool = True
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self.processes[-1]

    def start(self) -> None:
        with self.log.open("ab") as stream:
            self.processes.append(
                subprocess.Popen(
                    self.command, cwd=self.folder, env=self.env, stdout=stream, stderr=stream, start_new_session=True
                )
            )

    def stop(self) -> None:
        """End it, and what a killed one left behind."""
        for process in self.processes:
            children.end(process)

    def kill(self) -> None:
        """As the kernel does it when memory runs out."""
        os.kill(self.process.pid, signal.SIGKILL)


@dataclass
class Platform:
    """The parts, and where they keep what they keep.

    Args:
        clone: the checkout whose nights run.
        folder: logs, Airflow's own files.
        data: what nights read.
        address: host and port of PostgreSQL, "" = all databases are sqlite.
        extra: more environment of every part.
    """

    clone: Path
    folder: Path
    data: Path
    address: str
    extra: dict[str, str] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {name: children.free_port() for name in ("airflow", "mlflow", "service")}
        self._lock, self._ends = threading.Lock(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def database(self, name: str) -> str:
        """SQLAlchemy's URL of a database."""
        if self.address:
            return f"postgresql+psycopg://{postgres.USER}:{quote(postgres.PASSWORD, safe='')}@{self.address}/{name}"
        return f"sqlite:///{self.folder / name}.db"

    @property
    def home(self) -> Path:
        return self.clone / "var"

    @property
    def env(self) -> dict[str, str]:
        """What tasks and the service see."""
        audit = {"RPOREC_AUDIT_URL": self.database("rporec")}
        return {
            "RPOREC_PROFILE": "tiny", "RPOREC_DATA": str(self.data), "RPOREC_HOME": str(self.home),
            "MLFLOW_TRACKING_URI": self.url("mlflow"), "NO_PROXY": "127.0.0.1", **audit, **self.extra,
        }  # fmt: skip

    def start(self) -> None:
        """Start all but the service, which wants a champion."""
        if self.address:
            for name in DATABASES:
                self.sql(f"CREATE DATABASE {name}")
        env = project.environment(self.env | self._airflow())
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        store = ("--backend-store-uri", self.database("mlflow"), "--artifacts-destination", str(self.folder / "store"))
        where = ("--host", "127.0.0.1", "--port", str(self.ports["mlflow"]), "--workers", "1")
        self._add("mlflow", (sys.executable, "-m", "mlflow", "server", *where, *store), env)
        with (self.folder / "setup.log").open("wb") as log:
            for command in (("airflow", "db", "migrate"), (sys.executable, "-m", "infra.airflow_setup")):
                subprocess.run(command, cwd=self.clone, env=env, stdout=log, stderr=log, check=True)
        self._add("scheduler", ("airflow", "scheduler", "--skip-serve-logs"), env)
        self._add("dag-processor", ("airflow", "dag-processor"), env)
        self._add("api-server", ("airflow", "api-server", "--host", "127.0.0.1"), env)
        self._keeper.start()

    def serve(self, code: Path) -> None:
        """Start the service from a folder of its code."""
        env = project.environment({**self.env, "BENTOML_HOME": str(code / "bentoml")})
        where = ("--host", "127.0.0.1", "--port", str(self.ports["service"]))
        self._add("service", (sys.executable, "-m", "bentoml", "serve", "bento.service:RPORec", *where), env, code)

    def stop(self) -> None:
        """End everything."""
        self._ends.set()
        for part in reversed(self.parts.values()):
            part.wanted = False
            part.stop()

    def down(self, name: str) -> None:
        """Take a part down until `up`."""
        with self._lock:
            self.parts[name].wanted = False
            self.parts[name].stop()

    def up(self, name: str) -> None:
        """Let a part up again; the keeper starts it."""
        self.parts[name].wanted = True

    def tell(self, name: str, **settings: str) -> None:
        """Start a part again with other environment variables; an empty one is taken away."""
        self.down(name)
        part = self.parts[name]
        part.env = {key: value for key, value in {**part.env, **settings}.items() if value}
        self.up(name)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Ask PostgreSQL."""
        url = self.database(database).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return the processes of this platform whose command line holds all words, oldest first."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                line = " ".join(process.cmdline())
                if all(word in line for word in words) and process.environ().get("RPOREC_HOME") == str(self.home):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def _add(self, name: str, command: tuple[str, ...], env: dict[str, str], folder: Path | None = None) -> None:
        part = Part(name, command, folder or self.folder, env, self.folder / f"{name}.log")
        part.start()
        self.parts[name] = part

    def _keep(self) -> None:
        while not self._ends.wait(0.5):
            with self._lock:
                for part in tuple(self.parts.values()):
                    if part.wanted and not self._ends.is_set() and part.process.poll() is not None:
                        time.sleep(1)
                        part.start()

    def _airflow(self) -> dict[str, str]:
        address = self.url("airflow")
        return {
            "AIRFLOW_HOME": str(self.folder), "AIRFLOW__CORE__DAGS_FOLDER": str(self.clone / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "AIRFLOW__API__PORT": str(self.ports["airflow"]), "AIRFLOW__API__BASE_URL": address,
            "AIRFLOW__API__WORKERS": "1", "AIRFLOW__API_AUTH__JWT_SECRET": "of-this-test-alone-" + "x" * 64,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database("airflow"), **_QUICK,
            **({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": self.database("airflow")} if self.address else {}),
        }  # fmt: skip


@contextlib.contextmanager
def database(settings: dict[str, str]) -> Iterator[str]:
    """Yield host and port of a PostgreSQL where one is installed, else ""; with more environment variables."""
    try:
        postgres.programs()
    except BaseException as error:
        if type(error).__name__ != "Skipped":
            raise
        yield ""
        return
    with postgres.server(**settings) as address:
        yield address
