"""The model registry: a package becomes a version and the champion, or is refused.

Writes go through MLflow's client (imported when first needed, seconds); reading is `lookup`, moving aliases is `moves`.
A version that a kill left without an alias is taken up by the next promotion of the same package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rporec.errors import InputError
from rporec.release import audit, audit_row, lookup, manifest, moves, signature
from rporec.release.audit_row import Row
from rporec.release.lock import file_lock, single_writer
from rporec.release.lookup import CHALLENGER, CHAMPION, PREVIOUS, Version
from rporec.release.moves import Cause
from rporec.release.place import Place as Place  # as ...: callers know both from here
from rporec.release.place import client as client
from rporec.release.verdict import BoundVerdict

Aim = Literal["champion", "challenger"]


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
        aim: what it is to become.
    """

    package: Path
    verdict: BoundVerdict
    run_id: str
    source: str
    tags: Mapping[str, str]
    who: str
    aim: Aim = "champion"


@dataclass(frozen=True)
class Promotion:
    """What a promotion did: the version that holds the package, whether it became champion now, and in whose place."""

    version: Version
    moved: bool
    replaced: int | None


def prepare(place: Place) -> None:
    """Create and migrate the registry's database ahead of its use (seconds; safe beside other work)."""
    with file_lock(place.home / "prepare.lock", wait_seconds=0.0):
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


def taken_back(place: Place, model: str, version: Version) -> Row | None:
    """Return the row of the rollback that took a version from users; None where none did, or it was brought back."""
    return audit_row.rolled_back(audit.rows(place.audit, model)).get(version.number)


def mend(place: Place, model: str, who: str, wait_seconds: float) -> None:
    """Finish or drop what a kill cut off, and note aliases that were moved by other means.

    Raises:
        InputError: another promotion runs for longer than `wait_seconds`.
    """
    with single_writer(place.audit, wait_seconds):
        moves.reconcile(place, model, who)


def promote(place: Place, model: str, request: Request, wait_seconds: float) -> Promotion:
    """Make a package a version, and champion (the old one becomes `previous`) or, where that is asked, `challenger`.

    A package that has been champion already is returned as it stands.

    Raises:
        InputError: the package may not be promoted (see `check`), its copy in the registry is not whole, or another
            promotion runs for longer than `wait_seconds`.
    """
    with single_writer(place.audit, wait_seconds):
        package_hash = signature.verify(request.package, place.trust).package_hash
        moves.reconcile(place, model, request.who)
        known = registered(place, model, package_hash)
        if known is not None:
            return Promotion(known, moved=False, replaced=None)
        check(place, model, request.package, request.verdict, request.tags.get("as_of", ""))
        version = _register(place, model, request, package_hash)
        local_package(place, version)  # users get the registry's copy: one that is not whole keeps the champion
        replaced = moves.aliases(place, model)[CHAMPION]
        reason = f"the gates passed package {package_hash[:12]}"
        if request.aim == "challenger":
            cause = Cause("challenge", request.who, request.verdict.digest, reason)
            moves.carry_out(place, model, cause, {CHALLENGER: version.number})
            return Promotion(version, moved=False, replaced=None)
        cause = Cause("promote", request.who, request.verdict.digest, reason)
        wanted: dict[str, int | None] = {CHAMPION: version.number, CHALLENGER: None}
        if replaced is not None:
            wanted[PREVIOUS] = replaced
        moves.carry_out(place, model, cause, wanted)
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
