"""Toy packages put into a real registry, as promotion does it."""

from __future__ import annotations

import shutil
from pathlib import Path

from rporec.release import audit, lookup, manifest, registry, verdict
from rporec.release.audit_row import Phase
from rporec.release.registry import Aim, Place, Promotion, Request
from tests.release import world

MODEL = "rporec-demo"


def promote(
    place: Place, package: Path, *, as_of: str = "2026-01-01", aim: Aim = "champion", **verdict_of: object
) -> Promotion:
    """Promote a package with a verdict that passes against the present champion; `verdict_of` changes the verdict."""
    now = registry.champion(place, MODEL)
    against = {"champion": now.number, "champion_hash": now.package_hash} if now else {}
    settings = {**against, **verdict_of}
    package_hash = str(settings.pop("package_hash", manifest.read(package).package_hash))
    path = world.write_verdict(place.home / "gates.json", package_hash, **settings)
    tags = {"git_commit": "c", "dvc_lock_hash": "l", "data_hash": "d", "as_of": as_of}
    request = Request(package, verdict.read(path), "", _artifact(place, package), tags, "someone", aim)
    return registry.promote(place, MODEL, request, wait_seconds=0.0)


def told(place: Place, alias: str, phase: Phase = "done") -> list[tuple[int | None, int | None, str]]:
    """Return from, to and act of an alias's rows."""
    rows = audit.rows(place.audit, MODEL, phase)
    return [(row.from_version, row.to_version, row.act) for row in rows if row.alias == alias]


def held(place: Place) -> tuple[int | None, int | None, int | None]:
    """Return what champion, previous and challenger point at."""
    found = [lookup.by_alias(place.uri, MODEL, alias) for alias in lookup.ALIASES]
    champion, previous, challenger = (version.number if version else None for version in found)
    return champion, previous, challenger


def _artifact(place: Place, package: Path) -> str:
    """Put a copy of the package where MLflow's artefacts would lie."""
    target = place.home / "mlartifacts" / manifest.read(package).package_hash
    if not target.exists():
        shutil.copytree(package, target)
    return target.as_uri()
