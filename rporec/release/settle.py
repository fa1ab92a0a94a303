"""One promotion from start to end: check, record the run, make the version, tell the outcome. Safe to run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rporec.config import Params
from rporec.release import lineage, lookup, outputs, record, registry, signature, summary, verdict
from rporec.release.registry import Place, Promotion, Request
from rporec.release.verdict import BoundVerdict


@dataclass(frozen=True)
class Settled:
    """Where the package stands now: its verdict (pass, fail), version, MLflow run, hash of gates.json, and one line."""

    package_hash: str
    verdict: str
    version: int | None
    run_id: str
    verdict_hash: str
    told: str

    def note(self) -> dict[str, Any]:
        """Return the content of reports/promotion.json."""
        names = ("package_hash", "verdict", "version", "run_id", "verdict_hash")
        return {name: self.__dict__[name] for name in names}


def settle(root: Path, place: Place, params: Params, git_commit: str, who: str) -> Settled:
    """Bring MLflow up to date with the package in `root`.

    A package that has been champion is left as it stands. A failing one is recorded as a run and never
    becomes a version.

    Raises:
        InputError: no verdict, a verdict for other bytes or limits, a changed package, a changed champion, older data,
            or another promotion that does not end.
    """
    model, package = lookup.model_name(params.run.profile), root / summary.PACKAGE
    package_hash = signature.verify(package, place.trust).package_hash
    wait_seconds = params.promote.outage_seconds
    registry.mend(place, model, who, wait_seconds)
    known = registry.registered(place, model, package_hash)
    if known is not None:
        digest = known.tags.get("verdict_hash", "")
        told = f"this package is version {known.number} of {model} already"
        return Settled(package_hash, "pass", known.number, known.run_id, digest, told)
    judged = verdict.read(root / summary.GATES)
    origin = lineage.origin(root, git_commit)
    registry.check_binding(package, judged)
    verdict.check_limits(judged, params.gate)
    if judged.passed:
        registry.check(place, model, package, judged, origin["as_of"])
    outputs.write(root)
    sent = record.send(place, lineage.run_record(root, params, judged, git_commit))
    if not judged.passed:
        told = _refused(place, model, judged)
        return Settled(package_hash, judged.word, None, sent.run_id, judged.digest, told)
    request = Request(package, judged, sent.run_id, sent.package_source, origin, who)
    done = registry.promote(place, model, request, wait_seconds)
    told = _promoted(model, done)
    return Settled(package_hash, judged.word, done.version.number, sent.run_id, judged.digest, told)


def _refused(place: Place, model: str, judged: BoundVerdict) -> str:
    now = registry.champion(place, model)
    users = f"users keep version {now.number}" if now else "there is no champion yet"
    return f"refused by gate {', '.join(judged.failed)}; {users}; the reasons are in reports/gates.json and report.html"


def _promoted(model: str, done: Promotion) -> str:
    before = f"in place of version {done.replaced}" if done.replaced else "the first"
    return f"version {done.version.number} of {model} is the champion, {before}"
