"""The model registry: a package becomes a version and the champion, or is refused.

Writes go through MLflow's client (imported when first needed, seconds); reading is `lookup`. Order of writes: version,
aliases, audit row; a crash between two of them is mended by the next promotion of the same package.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rporec.errors import InputError
from rporec.release import audit, lookup, manifest, signature
from rporec.release.lookup import CHAMPION, PREVIOUS, Version
from rporec.release.signature import UNSIGNED, Trust
from rporec.release.verdict import BoundVerdict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a registry lives.

    Args:
        uri: MLflow tracking URI (sqlite file or server); tracking and registry are the same.
        home: RPOREC_HOME: artefacts of an sqlite registry, the audit, fetched packages.
        trust: which packages are let in by promotion and handed out as the champion.
    """

    uri: str
    home: Path
    trust: Trust = UNSIGNED

    @property
    def audit(self) -> Path:
        """The append-only audit file."""
        return self.home / "audit.jsonl"

    @property
    def cache(self) -> Path:
        """Where packages of a remote registry are fetched to."""
        return self.home / "packages"

    def artifacts(self, experiment: str) -> str | None:
        """Return the artefact address of a new experiment; None leaves it to the server."""
        if lookup.sqlite_file(self.uri) is None:
            return None
        return (self.home / "mlartifacts" / experiment).resolve().as_uri()


@dataclass(frozen=True)
class Request:
    """A package that asks to become the champion.

    Args:
        package: its folder.
        verdict: the judgement of it.
        run_id: the MLflow run that holds it as an artefact.
        source: address of that artefact folder.
        tags: git_commit, dvc_lock_hash, data_hash, as_of: what the version carries beside package_hash and verdict.
        who: the user who acts.
    """

    package: Path
    verdict: BoundVerdict
    run_id: str
    source: str
    tags: Mapping[str, str]
    who: str


@dataclass(frozen=True)
class Promotion:
    """What a promotion did: the version that holds the package, whether it became champion now, and in whose place."""

    version: Version
    moved: bool
    replaced: int | None


def client(place: Place) -> Any:  # noqa: ANN401 - MLflow ships no types
    """Return MLflow's client for a registry; creates and migrates an sqlite database on first use."""
    from mlflow.tracking import MlflowClient

    file = lookup.sqlite_file(place.uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)


def prepare(place: Place) -> None:
    """Create and migrate the registry's database ahead of its use (seconds; safe beside other work)."""
    with audit.single_writer(place.home / "prepare", wait_seconds=0.0):
        client(place).search_experiments(max_results=1)


def champion(place: Place, model: str) -> Version | None:
    """Return the version that serves users, None before the first promotion."""
    return lookup.by_alias(place.uri, model, CHAMPION)


def champion_package(place: Place, model: str) -> tuple[Version, Path] | None:
    """Return the champion and a local folder of its package, verified; None before the first promotion.

    Raises:
        InputError: the package's files do not match its manifest or the version's tag.
    """
    version = champion(place, model)
    return None if version is None else (version, local_package(place, version))


def local_package(place: Place, version: Version) -> Path:
    """Return a verified local folder of a version's package.

    Raises:
        InputError: the package's files do not match its manifest or the version's tag.
    """
    folder = lookup.package_folder(place.uri, version, place.cache)
    found = signature.verify(folder, place.trust).package_hash
    if found != version.package_hash:
        raise InputError(
            f"version {version.number} of {version.model} does not hold the package that it was made for",
            file=folder, field="package_hash", value=found, rule=f"must be {version.package_hash}",
            cure="roll back to another version, and look into who changed the registry's artefacts",
        )  # fmt: skip
    return folder


def check_binding(package: Path, verdict: BoundVerdict) -> None:
    """Refuse a verdict that did not judge exactly the package's bytes.

    Raises:
        InputError: the files do not match the manifest, or the verdict is for other bytes.
    """
    package_hash = manifest.verify(package).package_hash
    if verdict.package_hash != package_hash:
        raise InputError(
            "the verdict is for another package",
            file=package, field="package_hash", value=package_hash,
            rule=f"the verdict judged {verdict.package_hash}", cure="judge this package (make gate)",
        )  # fmt: skip


def check(place: Place, model: str, package: Path, verdict: BoundVerdict, as_of: str) -> None:
    """Refuse a package that may not become the champion.

    Raises:
        InputError: the files do not match the manifest; the verdict is for other bytes or a fail; the champion changed
            since the gate; the champion's data are newer.
    """
    check_binding(package, verdict)
    if not verdict.passed:
        raise InputError(
            "the package did not pass its gates",
            file=package, field="verdict", value=", ".join(verdict.failed), rule="every gate passes or does not apply",
            cure="read reports/report.html for the reasons, improve the model, and run again",
        )  # fmt: skip
    now = champion(place, model)
    if (now and (now.number, now.package_hash)) != (verdict.champion and (verdict.champion, verdict.champion_hash)):
        raise InputError(
            "the champion changed since the gate",
            field="champion", value=now and f"version {now.number}, package {now.package_hash[:12]}",
            rule=f"the verdict compared with version {verdict.champion}, package {verdict.champion_hash[:12] or None}",
            cure="judge the package again (make gate)",
        )  # fmt: skip
    if now is not None and now.as_of and as_of and as_of < now.as_of:
        raise InputError(
            "the package is older than the champion's data",
            field="as_of", value=as_of, rule=f"not before {now.as_of}", cure="promote a package of a later night",
        )  # fmt: skip


def registered(place: Place, model: str, package_hash: str) -> Version | None:
    """Return the version that holds a package and has been champion; such a package is not judged or moved again."""
    version = lookup.by_package(place.uri, model, package_hash)
    if version is None:
        return None
    now = champion(place, model)
    served = {row.to_version for row in audit.rows(place.audit, model) if row.alias == CHAMPION}
    return version if version.number in served or (now is not None and now.number == version.number) else None


def mend(place: Place, model: str, who: str, wait_seconds: float) -> None:
    """Add the audit row that a kill between alias and audit left out, else a package rolled back since counts as new.

    Raises:
        InputError: another promotion runs for longer than `wait_seconds`.
    """
    with audit.single_writer(place.audit, wait_seconds):
        _mend_audit(place, model, who)


def promote(place: Place, model: str, request: Request, wait_seconds: float) -> Promotion:
    """Make a package the champion: a version, the alias `champion` (the old one becomes `previous`), an audit row.

    A package that has been champion already is returned as it stands.

    Raises:
        InputError: the package may not be promoted (see `check`), or another promotion runs for longer than
            `wait_seconds`.
    """
    with audit.single_writer(place.audit, wait_seconds):
        package_hash = signature.verify(request.package, place.trust).package_hash
        _mend_audit(place, model, request.who)
        known = registered(place, model, package_hash)
        if known is not None:
            return Promotion(known, moved=False, replaced=None)
        check(place, model, request.package, request.verdict, request.tags.get("as_of", ""))
        version = _register(place, model, request, package_hash)
        old = champion(place, model)
        _move(place, old, version)
        replaced = old.number if old else None
        reason = f"the gates passed package {package_hash[:12]}"
        _note(place, version, replaced, request.who, request.verdict.digest, reason)
        return Promotion(version, moved=True, replaced=replaced)


def _register(place: Place, model: str, request: Request, package_hash: str) -> Version:
    """Return the version that holds the package, made now or by a promotion that was killed."""
    from mlflow.exceptions import MlflowException

    mlflow_client = client(place)
    made = lookup.by_package(place.uri, model, package_hash)
    if made is not None:  # what allows it is the verdict of today, not that of its making
        mlflow_client.set_model_version_tag(model, str(made.number), "verdict_hash", request.verdict.digest)
        return made
    try:
        mlflow_client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {**request.tags, "package_hash": package_hash, "verdict": request.verdict.word}
    return lookup.from_mlflow(
        mlflow_client.create_model_version(
            model, request.source, run_id=request.run_id, tags={**tags, "verdict_hash": request.verdict.digest}
        )
    )


def _move(place: Place, old: Version | None, new: Version) -> None:
    mlflow_client = client(place)
    if old is not None:
        mlflow_client.set_registered_model_alias(new.model, PREVIOUS, str(old.number))
    mlflow_client.set_registered_model_alias(new.model, CHAMPION, str(new.number))


def _note(place: Place, new: Version, replaced: int | None, who: str, digest: str, reason: str) -> None:
    when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    audit.append(place.audit, audit.Row(when, who, new.model, CHAMPION, replaced, new.number, digest, reason))


def _mend_audit(place: Place, model: str, who: str) -> None:
    """Add the row that a crash between alias and audit left out."""
    now = champion(place, model)
    moves = [row for row in audit.rows(place.audit, model) if row.alias == CHAMPION]
    last = moves[-1].to_version if moves else None
    if now is not None and now.number != last:
        log.warning("the audit lacked the move to version %d of %s; added", now.number, model)
        digest = now.tags.get("verdict_hash", "")
        _note(place, now, last, who, digest, "reconciled: the alias had moved without an audit row")
