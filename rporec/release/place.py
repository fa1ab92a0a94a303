"""Where a registry lives: MLflow's address and client, the folder of what outlives a run, the audit's database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rporec.home import home_folder
from rporec.release import lookup
from rporec.release.audit_row import Log
from rporec.release.signature import UNSIGNED, Trust

_DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "mssql")


@dataclass(frozen=True)
class Place:
    """Where a registry lives.

    Args:
        uri: MLflow tracking URI (sqlite file, other database or server); tracking and registry are the same.
        home: RPOREC_HOME: artefacts of an sqlite registry, fetched packages.
        audit_url: RPOREC_AUDIT_URL, "" = the audit lies in the registry's own database, or, where that is behind a
            server, in `audit.db` of the home.
        trust: which packages are let in by promotion and handed out as the champion.
    """

    uri: str
    home: Path
    audit_url: str = field(default="", repr=False)
    trust: Trust = UNSIGNED

    @property
    def audit(self) -> Log:
        """The append-only record of every change of an alias."""
        lock, earlier = self.home / "audit.lock", self.home / "audit.jsonl"
        own = lookup.sqlite_file(self.uri)
        if self.audit_url:
            return Log(self.audit_url, lock, earlier, made_by_mlflow=False)
        if own is not None:
            return Log(f"sqlite:///{own}", own.with_name("audit.lock"), earlier, made_by_mlflow=True)
        if self.uri.startswith(_DATABASES):
            return Log(self.uri, lock, earlier, made_by_mlflow=False)
        return Log(f"sqlite:///{(self.home / 'audit.db').resolve()}", lock, earlier, made_by_mlflow=False)

    @property
    def cache(self) -> Path:
        """Where packages of a remote registry are fetched to."""
        return self.home / "packages"

    def artifacts(self, experiment: str) -> str | None:
        """Return the artefact address of a new experiment; None leaves it to the server."""
        if lookup.sqlite_file(self.uri) is None:
            return None
        return (self.home / "mlartifacts" / experiment).resolve().as_uri()


def locate(root: Path, environment: Mapping[str, str], trust: Trust = UNSIGNED) -> Place:
    """Return the registry that a checkout or worktree works with.

    Args:
        root: the checkout or worktree.
        environment: the process's: RPOREC_HOME, MLFLOW_TRACKING_URI, RPOREC_AUDIT_URL.
        trust: whose packages are let in.

    Raises:
        InputError: RPOREC_HOME names no folder.
    """
    home = home_folder(root, environment)
    uri = lookup.tracking_uri(home, environment)
    return Place(uri, home, audit_url=environment.get("RPOREC_AUDIT_URL", ""), trust=trust)


def client(place: Place) -> Any:  # noqa: ANN401 - MLflow ships no types
    """Return MLflow's client for a registry; creates and migrates an sqlite database on first use."""
    from mlflow.tracking import MlflowClient

    file = lookup.sqlite_file(place.uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)
