"""One promotion from start to end: check, record the run, make the version, tell the outcome. Safe to run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rporec.config import Params
from rporec.release import lineage, lookup, outputs, record, registry, signature, summary, verdict
from rporec.release.audit_row import Row
from rporec.release.lookup import Version
from rporec.release.place import Place
from rporec.release.registry import Aim, Promotion, Request
from rporec.release.rollback import bring_back
from rporec.release.verdict import BoundVerdict


@dataclass(frozen=True)
class Settled:
    """Where the package stands now.

    Args:
        package_hash: the package.
        verdict: `pass` or `fail`.
        version, run_id: its version, None when it has none, and its MLflow run.
        verdict_hash: SHA-256 of gates.json.
        told: the outcome in one line.
        taken_back: it was rolled back, and stays where it is.
    """

    package_hash: str
    verdict: str
    version: int | None
    run_id: str
    verdict_hash: str
    told: str
    taken_back: bool = False

    def note(self) -> dict[str, Any]:
        """Return the content of reports/promotion.json."""
        names = ("package_hash", "verdict", "version", "run_id", "verdict_hash")
        return {name: self.__dict__[name] for name in names}


@dataclass(frozen=True)
class Actor:
    """Who asks for what.

    Args:
        who: the user who acts.
        git_commit: of the code.
        aim: what the package is to become.
        again: also where it was rolled back.
    """

    who: str
    git_commit: str
    aim: Aim = "champion"
    again: bool = False


def settle(root: Path, place: Place, params: Params, actor: Actor) -> Settled:
    """Bring MLflow up to date with the package in `root`.

    A package that has been champion is left as it stands, unless it was rolled back and is asked for again. A failing
    one is recorded as a run and never becomes a version.

    Raises:
        InputError: no verdict, a verdict for other bytes or limits, a changed package, a changed champion, older data,
            or another promotion that does not end.
    """
    model, package = lookup.model_name(params.run.profile), root / summary.PACKAGE
    package_hash = signature.verify(package, place.trust).package_hash
    wait_seconds = params.promote.outage_seconds
    registry.mend(place, model, actor.who, wait_seconds)
    known = registry.registered(place, model, package_hash)
    back = registry.taken_back(place, model, known) if known is not None else None
    if known is not None and back is not None and actor.again:
        bring_back(place, known, actor.who, wait_seconds)
        told = f"version {known.number} of {model} is the champion again, though it was rolled back"
        return _known(known, told, taken_back=False)
    if known is not None:
        return _known(known, _stays(known, back), taken_back=back is not None)
    judged = verdict.read(root / summary.GATES)
    origin = lineage.origin(root, actor.git_commit)
    registry.check_binding(package, judged)
    verdict.check_limits(judged, params.gate)
    if judged.passed:
        registry.check(place, model, package, judged, origin["as_of"])
    outputs.write(root)
    sent = record.send(place, lineage.run_record(root, params, judged, actor.git_commit))
    if not judged.passed:
        told = _refused(place, model, judged)
        return Settled(package_hash, judged.word, None, sent.run_id, judged.digest, told)
    request = Request(package, judged, sent.run_id, sent.package_source, origin, actor.who, actor.aim)
    done = registry.promote(place, model, request, wait_seconds)
    told = _promoted(model, done, actor.aim)
    return Settled(package_hash, judged.word, done.version.number, sent.run_id, judged.digest, told)


def _refused(place: Place, model: str, judged: BoundVerdict) -> str:
    now = registry.champion(place, model)
    users = f"users keep version {now.number}" if now else "there is no champion yet"
    return f"refused by gate {', '.join(judged.failed)}; {users}; the reasons are in reports/gates.json and report.html"


def _known(known: Version, told: str, *, taken_back: bool) -> Settled:
    digest = known.tags.get("verdict_hash", "")
    return Settled(known.package_hash, "pass", known.number, known.run_id, digest, told, taken_back)


def _stays(known: Version, back: Row | None) -> str:
    told = f"this package is version {known.number} of {known.model} already"
    if back is None:
        return told
    return f"{told}; {back.who} rolled it back on {back.when} ({back.reason}): it is not promoted again by itself"


def _promoted(model: str, done: Promotion, aim: Aim) -> str:
    if aim == "challenger":
        return f"version {done.version.number} of {model} is the challenger; the champion stays"
    before = f"in place of version {done.replaced}" if done.replaced else "the first"
    return f"version {done.version.number} of {model} is the champion, {before}"
