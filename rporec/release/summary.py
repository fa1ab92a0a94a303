"""The summary for machines: `reports/summary.json`, and where a run stands with the registry.

Imports nothing heavy: a run that has nothing to do ends here too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rporec.files import read_json, sha256_file
from rporec.release import lookup, manifest, records

FIGURES = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr", "n")
ACTS = ("gate", "promote")  # no DVC stages, but in the table of a run
PACKAGE, GATES, PROMOTION = Path("outputs/package"), Path("reports/gates.json"), Path("reports/promotion.json")


@dataclass(frozen=True)
class RunFacts:
    """What the driver knows of a run.

    Args:
        profile: name of the profile.
        git_commit: commit of the code, "" when there is none.
        stages: the stages in order (dvc.yaml).
        cached: those that were not run now.
        uri: MLflow tracking URI.
    """

    profile: str
    git_commit: str
    stages: Sequence[str]
    cached: Collection[str]
    uri: str


@dataclass(frozen=True)
class Standing:
    """Where the workspace's package stands.

    Args:
        package_hash: the package.
        verdict: `pass`, `fail`, None = not judged here. A version that falls behind a later champion may read `fail`.
        version: its registry version, None when it has none.
        unjudged: the gate is to be asked, anew or again, before these bytes may be promoted.
        settled: gate and promote have nothing to do for these bytes.
    """

    package_hash: str
    verdict: str | None
    version: int | None
    unjudged: bool
    settled: bool


def standing(root: Path, uri: str, model: str) -> Standing:
    """Tell where the package in `root` stands; on an sqlite registry without importing MLflow.

    With a registry on a server the last promotion's own note is believed instead of asking the server.
    """
    package_hash = manifest.read(root / PACKAGE).package_hash
    note = _matching(root / PROMOTION, package_hash)
    judged = _matching(root / GATES, package_hash)
    verdict = str(judged["verdict"]) if judged else None
    number: int | None = note["version"] if note else None
    completed, serves = number is not None, False
    if lookup.sqlite_file(uri) is not None:
        version, now = lookup.by_package(uri, model, package_hash), lookup.by_alias(uri, model, lookup.CHAMPION)
        number = version.number if version else None
        serves = now is not None and now.number == number
    if number is not None:
        # A version that no promotion completed was left by a kill: since its verdict the champion or the limits may
        # have changed, and promotion would refuse it for ever.
        unjudged = judged is None or not (completed or serves)
        return Standing(package_hash, verdict, number, unjudged, settled=completed and judged is not None)
    known = note is not None and judged is not None and note["verdict_hash"] == sha256_file(root / GATES)
    return Standing(package_hash, verdict, None, unjudged=True, settled=known and verdict == "fail")


def build_summary(root: Path, facts: RunFacts) -> dict[str, Any]:
    """Return the content of reports/summary.json from the workspace's outputs, records and verdict.

    A cached stage has the seconds and memory of the run that made its outputs; a stage without a record has null.
    """
    where = standing(root, facts.uri, lookup.model_name(facts.profile))
    lineage = read_json(root / PACKAGE / "lineage.json")
    rankers = read_json(root / "outputs/evaluate/metrics.json")["rankers"]
    return {
        "profile": facts.profile,
        "verdict": where.verdict,
        "version": where.version,
        "git_commit": facts.git_commit,
        "data_hash": lineage["data_hash"],
        "package_hash": where.package_hash,
        "metrics": {ranker: {name: found.get(name) for name in FIGURES} for ranker, found in rankers.items()},
        "stages": stage_table(root, facts.stages, facts.cached),
    }


def stage_table(root: Path, stages: Sequence[str], cached: Collection[str]) -> list[dict[str, Any]]:
    """Return a row a stage (`name`, `seconds`, `peak_mb`, `cached`), then gate and promote where they left a record."""
    rows, outs = [], records.locked(root)
    for name in (*stages, *ACTS):
        found = records.read(root, name, outs)
        if name in ACTS and found is None:
            continue
        record: Mapping[str, Any] = found or {}
        rows.append(
            {
                "name": name,
                "seconds": record.get("seconds"),
                "peak_mb": record.get("peak_mb"),
                "cached": name in cached,
            }
        )
    return rows


def _matching(path: Path, package_hash: str) -> dict[str, Any] | None:
    """Return a JSON report when it is about this package."""
    if not path.is_file():
        return None
    stated: dict[str, Any] = read_json(path)
    return stated if stated.get("package_hash") == package_hash else None
