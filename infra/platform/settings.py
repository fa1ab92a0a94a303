"""What the platform is told by the environment: ports, databases, profile. Where its pages are then.

All secrets come in here and go out only in the environment of the processes that need them (infra/platform/parts.py).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from infra import children, overlay
from rporec.errors import InputError
from rporec.home import home_folder

HOST = "127.0.0.1"
_PORTS = {"RPOREC_MLFLOW_PORT": "5000", "RPOREC_AIRFLOW_PORT": "8080", "RPOREC_SERVICE_PORT": ""}  # "": serve.port


@dataclass(frozen=True)
class Settings:
    """How the platform is to run.

    Args:
        checkout: whose DAGs, code and committed parameters it runs.
        home: RPOREC_HOME.
        profile: of the nights and of the service.
        ports: by the variable that sets them.
        database: the PostgreSQL of Airflow, MLflow and the audit; None = sqlite files in `home`.
        redis: the queue of Celery; None = tasks run beside the scheduler.
    """

    checkout: Path
    home: Path
    profile: str
    ports: Mapping[str, int]
    database: URL | None = field(repr=False)
    redis: str | None = field(repr=False)

    @property
    def folder(self) -> Path:
        """State, lock and logs."""
        return self.home / "platform"

    @property
    def airflow_home(self) -> Path:
        """Airflow's own folder: its sqlite database, logs, password and keys."""
        return self.home / "airflow"

    @property
    def pages(self) -> dict[str, str]:
        """Addresses by service."""
        names = dict(zip(("mlflow", "airflow", "service"), _PORTS, strict=True))
        return {name: f"http://{HOST}:{self.ports[port]}" for name, port in names.items()}


def read(checkout: Path, environment: Mapping[str, str]) -> Settings:
    """Return the settings; a port 0 becomes one that is free now.

    Raises:
        InputError: an unknown profile, a port that is none, an address that does not fit.
    """
    profile = environment.get("RPOREC_PROFILE") or "nightly"
    _, params = overlay.merge(checkout, profile, "", None)
    ports = {name: _port(name, environment.get(name) or own or str(params.serve.port)) for name, own in _PORTS.items()}
    database = _database(environment.get("DATABASE_URL", ""))
    redis = _redis(environment.get("REDIS_URL", ""), database)
    return Settings(checkout, home_folder(checkout, environment), profile, ports, database, redis)


def in_use(settings: Settings) -> None:
    """Look whether all ports are free.

    Raises:
        InputError: somebody listens on one.
    """
    for name, port in settings.ports.items():
        with socket.socket() as probe:
            # As servers do: a connection that has just ended does not hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                raise InputError(
                    f"port {port} is in use", field=name, value=str(port), rule="a free port of the loopback",
                    cure=f"stop what listens there, or name another port in {name} (0 = any free one)",
                ) from None  # fmt: skip


def inside(database: URL, schema: str) -> str:
    """Return the address, password included, of one schema of a PostgreSQL database."""
    options = " ".join([*_options(database), f"-csearch_path={schema}"])
    return database.update_query_dict({"options": options}).render_as_string(hide_password=False)


def _options(database: URL) -> list[str]:
    given = database.query.get("options", ())
    return [given] if isinstance(given, str) else list(given)


def _port(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65_535:
        return int(text) or children.free_port()
    raise InputError("this is no port", field=name, value=text, rule="0 to 65535, 0 = any free one", cure="correct it")


def _database(text: str) -> URL | None:
    if not text:
        return None
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        raise InputError(  # the value stays unsaid: it holds a password
            "DATABASE_URL is no address of a PostgreSQL", field="DATABASE_URL",
            rule="postgresql://user:password@host:port/database, or not set (sqlite)", cure="correct it",
        )  # fmt: skip
    return url.set(drivername="postgresql+psycopg")


def _redis(text: str, database: URL | None) -> str | None:
    if text and database is None:
        raise InputError(
            "Celery needs a PostgreSQL beside Redis", field="REDIS_URL", rule="set together with DATABASE_URL",
            cure="set DATABASE_URL, or leave REDIS_URL out",
        )  # fmt: skip
    if text and not text.startswith(("redis://", "rediss://")):
        raise InputError(
            "REDIS_URL is no address of a Redis", field="REDIS_URL", rule="redis://:password@host:port/number",
            cure="correct it",
        )  # fmt: skip
    return text or None
