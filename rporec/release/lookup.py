"""Read-only look into the registry: which version is the champion, which version holds these bytes.

Cheap on the default sqlite registry: it is read with the standard library, without MLflow (seconds of import), because
every run, gate and service start asks. Any other registry is asked through MLflow's client. Nothing here changes it.
"""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from rporec.errors import InputError
from rporec.release import manifest

log = logging.getLogger(__name__)
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
ALIASES = (CHAMPION, PREVIOUS, CHALLENGER)
_SQLITE = "sqlite:///"
_LOCK_SECONDS = 30.0
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow says the second for an alias that is not set
_Key = Literal["alias", "package_hash", "number"]
_WHERE: dict[_Key, str] = {
    "alias": "JOIN registered_model_aliases a ON a.name = v.name AND a.version = v.version "
    "WHERE v.name = :model AND a.alias = :value",
    "package_hash": "JOIN model_version_tags t ON t.name = v.name AND t.version = v.version "
    "WHERE v.name = :model AND t.key = 'package_hash' AND t.value = :value",
    "number": "WHERE v.name = :model AND v.version = :value",
}

# MLflow keeps the row of a version that somebody deleted, with its number and its tags but without its source.
THERE = "coalesce(v.current_stage, '') <> 'Deleted_Internal'"
_VERSION = "SELECT v.version, v.source, v.run_id FROM model_versions v"
_ALIASED = (
    "SELECT DISTINCT t.value FROM registered_model_aliases a JOIN model_version_tags t "
    "ON t.name = a.name AND t.version = a.version WHERE t.key = 'package_hash'"
)


@dataclass(frozen=True)
class Version:
    """A registered model version.

    Args:
        model: registered name, rporec-<profile>.
        number: version number, from 1.
        source: address of its package folder.
        run_id: the MLflow run that made it.
        tags: git_commit, dvc_lock_hash, data_hash, package_hash, verdict, as_of and others.
    """

    model: str
    number: int
    source: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def package_hash(self) -> str:
        """Hash that names the package."""
        return self.tags["package_hash"]

    @property
    def as_of(self) -> str:
        """Date up to which its data go, "" when the data have no time."""
        return self.tags.get("as_of", "")


def model_name(profile: str) -> str:
    """Return the registered name of a profile."""
    return f"rporec-{profile}"


def default_uri(home: Path) -> str:
    """Return the tracking URI that is used unless MLFLOW_TRACKING_URI names another."""
    return f"{_SQLITE}{(home / 'mlflow.db').resolve()}"


def tracking_uri(home: Path, environment: Mapping[str, str]) -> str:
    """Return MLFLOW_TRACKING_URI of an environment, else the sqlite file in RPOREC_HOME."""
    return environment.get("MLFLOW_TRACKING_URI") or default_uri(home)


def by_alias(uri: str, model: str, alias: str) -> Version | None:
    """Return the version that an alias (one of `ALIASES`) points at, None when there is none."""
    return _newest(uri, model, "alias", alias)


def by_package(uri: str, model: str, package_hash: str) -> Version | None:
    """Return the newest version that holds a package, by the package's hash."""
    return _newest(uri, model, "package_hash", package_hash)


def by_number(uri: str, model: str, number: int) -> Version | None:
    """Return a version by its number."""
    return _newest(uri, model, "number", number)


def aliased(uri: str) -> set[str]:
    """Return the packages, by hash, that any alias of any registered model points at."""
    file = sqlite_file(uri)
    if file is None:
        return _aliased_by_client(uri)
    if not file.exists():
        return set()
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS)) as database:
        return {package_hash for (package_hash,) in database.execute(_ALIASED)}


def package_folder(uri: str, version: Version, cache: Path) -> Path:
    """Return a local folder with the version's package: where it lies, or a copy fetched into `cache`.

    The caller verifies it (`manifest.verify`); a copy is kept under the package's hash, and fetched anew once damaged.

    Raises:
        InputError: what was fetched is not the package.
    """
    if version.source.startswith("file://"):
        return Path(unquote(version.source.removeprefix("file://")))
    if "://" not in version.source and Path(version.source).is_dir():
        return Path(version.source)
    return _fetch(uri, version, cache)


def sqlite_file(uri: str) -> Path | None:
    """Return the database file of an sqlite URI (a relative one counts from here, as for MLflow), None for others."""
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


def _newest(uri: str, model: str, key: _Key, value: str | int) -> Version | None:
    file = sqlite_file(uri)
    if file is None:
        return _from_client(uri, model, key, value)
    if not file.exists():
        return None
    query = f"{_VERSION} {_WHERE[key]} AND {THERE} ORDER BY v.version DESC LIMIT 1"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS)) as database:
        try:
            row = database.execute(query, {"model": model, "value": value}).fetchone()
            return None if row is None else _with_tags(database, model, row)
        except sqlite3.OperationalError as error:
            # The tables appear when MLflow migrates the fresh file; until then there is no version.
            if "no such table" in str(error):
                return None
            raise


def _with_tags(database: sqlite3.Connection, model: str, row: tuple[int, str, str]) -> Version:
    tags = database.execute(
        "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ? ORDER BY key", (model, row[0])
    )
    return Version(model, int(row[0]), row[1], row[2] or "", dict(tags.fetchall()))


def _from_client(uri: str, model: str, key: _Key, value: str | int) -> Version | None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri, uri)
    try:
        if key == "alias":
            return from_mlflow(client.get_model_version_by_alias(model, str(value)))
        if key == "number":
            return from_mlflow(client.get_model_version(model, str(value)))
        found = client.search_model_versions(f"name = '{model}' AND tags.package_hash = '{value}'")
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise
    return max(map(from_mlflow, found), key=lambda version: version.number, default=None)


def _aliased_by_client(uri: str) -> set[str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri, uri)
    found: set[str] = set()
    token: str | None = None
    while True:
        page = client.search_registered_models(page_token=token)
        versions = {(model.name, str(number)) for model in page for number in model.aliases.values()}
        found |= {str(client.get_model_version(*version).tags.get("package_hash", "")) for version in versions}
        token = page.token
        if not token:
            return found - {""}


def from_mlflow(version: Any) -> Version:  # noqa: ANN401 - MLflow ships no types
    """Convert MLflow's ModelVersion."""
    return Version(version.name, int(version.version), version.source, version.run_id or "", dict(version.tags))


def _fetch(uri: str, version: Version, cache: Path) -> Path:
    target = cache / version.package_hash
    if _is_package(target, version):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        fetched = _download(uri, version.source, Path(temporary))
        if not _is_package(fetched, version):
            raise InputError(
                f"version {version.number} of {version.model} does not hold the package that it was made for",
                file=version.source, rule=f"package {version.package_hash}, byte for byte",
                cure="roll back to another version, and look into who changed the registry's artefacts",
            )  # fmt: skip
        try:
            fetched.rename(target)
        except OSError:
            if not _is_package(target, version):  # else another process has put it there meanwhile
                log.warning("the kept package %s is damaged; replaced by a fresh copy", target)
                target.rename(Path(temporary) / "damaged")
                fetched.rename(target)
    return target


def _is_package(folder: Path, version: Version) -> bool:
    try:
        return manifest.verify(folder).package_hash == version.package_hash
    except InputError:
        return False


def _download(uri: str, source: str, folder: Path) -> Path:
    import mlflow

    return Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=uri))
