"""What must be there before the platform starts: databases, keys, the folder of the service."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from infra import registry, service_folder
from infra.platform import keys, parts
from infra.platform.settings import Settings
from rporec.errors import InputError
from rporec.release import lookup

SCHEMAS = ("airflow", "mlflow")


def prepare(settings: Settings, environment: Mapping[str, str]) -> None:
    """Make or migrate everything; nothing that is there is lost.

    Raises:
        InputError: a database cannot be reached or migrated.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    keys.make(settings.airflow_home, environment)
    if settings.database is None:
        file = lookup.sqlite_file(lookup.default_uri(settings.home))
        assert file is not None
        registry.make(file)
    else:
        _make_schemas(settings.database)
    _run(settings, environment, (str(Path(sys.executable).parent / "airflow"), "db", "migrate"))
    _run(settings, environment, (sys.executable, "-m", "infra.airflow_setup"))
    folder = served(settings)
    shutil.rmtree(folder, ignore_errors=True)
    service_folder.lay_out(settings.checkout, settings.profile, folder)


def served(settings: Settings) -> Path:
    """Return the folder from which the service runs: code and parameters of the profile as they stand at the start."""
    return settings.folder / "service"


def _make_schemas(database: sa.URL) -> None:
    """Give Airflow and MLflow a schema each: both keep a table `alembic_version`."""
    try:
        engine = sa.create_engine(database, connect_args={"connect_timeout": 10})
        with engine.begin() as connection:
            for name in SCHEMAS:
                connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {name}"))
        engine.dispose()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0]
        raise InputError(
            "the database cannot be prepared", field="DATABASE_URL", value=repr(database), rule=reason,
            cure="start the server, correct the address, or let this user make schemas in this database",
        ) from None  # fmt: skip


def _run(settings: Settings, environment: Mapping[str, str], command: Sequence[str]) -> None:
    path = settings.folder / "logs" / "prepare.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        done = subprocess.run(
            command, cwd=settings.checkout, env=parts.airflow(settings, environment), check=False,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
    if done.returncode:
        raise InputError(
            f"{' '.join(command)} failed", file=path,
            rule=path.read_text(encoding="utf-8", errors="replace")[-1500:], cure="what the log says",
        )  # fmt: skip
