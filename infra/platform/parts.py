"""The processes of the platform: their commands and environments. Not how they are kept alive: keeper.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.platform import keys
from infra.platform.settings import HOST, Settings, inside
from rporec.release import lookup

MARK = "RPOREC_PLATFORM"  # in the environment of every process of the platform: whose it is
WORKER = "worker@rporec"
SERVICE, WAITING = "service", "service.waiting"
_OF_MAKE = ("MAKE", "MFLAGS")


@dataclass(frozen=True)
class Part:
    """One process that is kept alive.

    Args:
        name: of its log.
        command: as for subprocess.
        folder: where it runs.
        variables: its whole environment, secrets included.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    variables: Mapping[str, str] = field(repr=False)


def parts(settings: Settings, environment: Mapping[str, str], token: str) -> list[Part]:
    """Return all parts, in the order in which they are started.

    Args:
        settings: of the platform.
        environment: of the caller, handed on to all of them.
        token: names this start of the platform.
    """
    of_airflow = airflow(settings, environment)
    programs = Path(sys.executable).parent
    where = ("--host", HOST, "--port", str(settings.ports["RPOREC_MLFLOW_PORT"]))
    mlflow_command = (str(programs / "mlflow"), "server", *where, "--workers", "1")
    found = [
        Part("mlflow", mlflow_command, settings.folder, mlflow(settings, environment)),
        Part(
            SERVICE, (sys.executable, "-m", "infra.platform", SERVICE), settings.checkout, common(settings, environment)
        ),
    ]
    for name, words in _airflow_commands(settings).items():
        found.append(Part(name, (str(programs / "airflow"), *words), settings.checkout, of_airflow))
    return [Part(one.name, one.command, one.folder, {**one.variables, MARK: f"{token}.{one.name}"}) for one in found]


def _airflow_commands(settings: Settings) -> dict[str, tuple[str, ...]]:
    # Without servers of their own for logs: those listen on every interface; the logs lie on this machine anyway.
    found: dict[str, tuple[str, ...]] = {
        "airflow": ("api-server", "--host", HOST),
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "dag-processor": ("dag-processor",),
        "triggerer": ("triggerer", "--skip-serve-logs"),
    }
    if settings.redis:
        found["worker"] = ("celery", "worker", "--skip-serve-logs", "--celery-hostname", WORKER)
    return found


def common(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what all processes of the platform get: the caller's environment, and one registry for all."""
    # Where the caller's shell is set up for the commands, these name this very registry.
    found = {name: value for name, value in environment.items() if not name.startswith(_OF_MAKE)}
    found.pop("MLFLOW_TRACKING_URI", None)
    direct = [text for text in (HOST, "localhost", environment.get("NO_PROXY", "")) if text]
    found |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "RPOREC_HOME": str(settings.home),
        "RPOREC_PROFILE": settings.profile,
        "NO_PROXY": ",".join(direct), "no_proxy": ",".join(direct),
        "MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    if settings.database is not None:
        found["MLFLOW_TRACKING_URI"] = settings.pages["mlflow"]
        found.setdefault("RPOREC_AUDIT_URL", settings.database.render_as_string(hide_password=False))
    return found


def mlflow(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the MLflow server; its database is the registry that commands and DAGs use."""
    found = common(settings, environment)
    database = settings.database
    own = lookup.default_uri(settings.home) if database is None else inside(database, "mlflow")
    return found | {
        "MLFLOW_BACKEND_STORE_URI": own,
        "MLFLOW_ARTIFACTS_DESTINATION": str(settings.home / "mlartifacts"),
    }


def airflow(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of Airflow's processes, of the commands of its tasks, and of `airflow` in a shell."""
    page, folder = settings.pages["airflow"], settings.airflow_home
    found = common(settings, environment) | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.checkout / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor" if settings.redis else "LocalExecutor",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{page}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / keys.PASSWORDS),
        "AIRFLOW__API__BASE_URL": page,
        "AIRFLOW__API__PORT": str(settings.ports["RPOREC_AIRFLOW_PORT"]),
        "AIRFLOW__API__WORKERS": "1",
        **keys.variables(folder, environment),
    }
    if settings.database is not None:
        address = inside(settings.database, "airflow")
        found |= dict.fromkeys(
            ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"), address
        )
        if settings.redis:
            found |= {
                "AIRFLOW__CELERY__BROKER_URL": settings.redis, "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{address}",
            }  # fmt: skip
    return found
