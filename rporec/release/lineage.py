"""What a pipeline run left in its workspace, put together for MLflow: origin of the package, params, metrics, files."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rporec.config import Params
from rporec.evaluation.curves import read_curves
from rporec.files import read_json, sha256_file
from rporec.release import layout, lookup, records, summary
from rporec.release.commit import OWN
from rporec.release.record import RunRecord
from rporec.release.verdict import BoundVerdict

log = logging.getLogger(__name__)
_OWN_FILES = (*sorted(OWN), "reports/gates.json", "reports/outputs.json", "outputs/evaluate/report.html")


def origin(root: Path, git_commit: str) -> dict[str, str]:
    """Return where the package in `root` comes from, as tags: commit, data, hashes of dvc.lock and requirements.txt."""
    stated = read_json(root / summary.PACKAGE / layout.LINEAGE)
    return {
        "git_commit": git_commit,
        "dvc_lock_hash": _hash(root / "dvc.lock"),
        "requirements_hash": _hash(root / "requirements.txt"),
        **{name: str(stated[name]) for name in ("data_hash", "as_of", "ships")},
    }


def run_record(root: Path, params: Params, judged: BoundVerdict, git_commit: str) -> RunRecord:
    """Return everything that MLflow keeps of the run in `root`; the package itself only when it passed."""
    stages = list(yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    sections = params.model_dump(mode="json", by_alias=True)
    metrics, files = collect(root, stages, sections)
    rollouts = root / "outputs/align/rollouts.parquet"
    tags = origin(root, git_commit)
    # The params too: MLflow refuses to change one that a run holds, so other params need a run of their own. And the
    # packages: the same code on others is another run.
    identity = [judged.package_hash, judged.digest, git_commit, tags["requirements_hash"]]
    identity.append(json.dumps(sections, sort_keys=True))
    return RunRecord(
        experiment=lookup.model_name(params.run.profile),
        key=hashlib.sha256(" ".join(identity).encode()).hexdigest(),
        tags={**tags, "package_hash": judged.package_hash, "verdict": judged.word},
        params=sections,
        metrics={**metrics, **_ranker_metrics(root)},
        curves=_curves(root),
        files={**files, "run": [root / name for name in _OWN_FILES if (root / name).is_file()]},
        package=root / summary.PACKAGE if judged.passed else None,
        rollouts=rollouts if rollouts.is_file() else None,
    )


def collect(
    root: Path, stages: Sequence[str], params: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, list[Path]]]:
    """Read the records of the stages below `root`: metrics by name, and artefact files by stage.

    A record of other outputs than dvc.lock's, or of other params, is of another run (DVC brought the outputs from its
    cache): nothing of the first is told, of the second only the files, which are those of today.
    """
    metrics: dict[str, float] = {}
    files: dict[str, list[Path]] = {}
    outs = records.locked(root)
    for stage in stages:
        record = records.read(root, stage, outs)
        if record is None:
            log.info("recorder: stage %s left no record of these outputs here (they came from the cache)", stage)
            continue
        files[stage] = [root / file for file in record["files"] if (root / file).is_file()]
        if record["params"] != params[stage]:
            continue
        metrics |= {f"{stage}.{name}": float(value) for name, value in record["metrics"].items() if value is not None}
        metrics |= {f"{stage}.{name}": float(record[name]) for name in ("seconds", "peak_mb")}
    return metrics, files


def _curves(root: Path) -> dict[str, Sequence[tuple[float, float]]]:
    """Return the training curves as `stage/column`; of the outputs as they are, whether their stages ran or not."""
    return {
        f"{stage}/{name}": points
        for stage, curves in read_curves(root / "outputs").items()
        for name, points in curves.series.items()
    }


def _hash(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _ranker_metrics(root: Path) -> dict[str, float]:
    rankers = read_json(root / "outputs" / "evaluate" / "metrics.json")["rankers"]
    return {
        f"{ranker}.{name}": float(value)
        for ranker, figures in rankers.items()
        for name, value in figures.items()
        if value is not None
    }
