"""Gate: judge the last package against its evaluation, the champion, the ledger and the service's budget.

No DVC stage: it looks at the world. `python -m steps.gate` from the workspace root. A failing verdict is a result
(exit 0); only errors exit otherwise.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from pathlib import Path
from typing import Any

from rporec import config
from rporec.evaluation import frames, gates, judge, ledger, service, slices, terms
from rporec.evaluation.candidate import Candidate
from rporec.evaluation.report import ReportData, render
from rporec.files import read_json, write_json, write_text
from rporec.release import lookup, registry
from rporec.release.place import locate
from steps.stage import guarded, home_folder

log = logging.getLogger("rporec")


def gate(root: Path) -> dict[str, Any]:
    """Judge the package in `root`; write reports/gates.json, reports/report.html and a record, return the first.

    Raises:
        InputError: the package, the evaluation or the champion's package is missing, changed, or not of one run.
    """
    started = time.monotonic()
    params, home = config.load(root / "params.yaml"), home_folder(root)
    limits = params.gate
    candidate = Candidate.load(root / "outputs")
    rows_hash = ledger.rows_hash(candidate.rows, candidate.item_ids)
    look = ledger.spend(home / "ledger.jsonl", rows_hash, candidate.package_hash, limits.alpha)
    version, folder = champion(root, params.run.profile) or (None, None)
    own = version is None or version.package_hash == candidate.package_hash
    users = candidate.ranks["user_id"].to_numpy()
    values = candidate.values(None if own else folder, params.run.threads, home / "vectors")
    case = judge.Case(
        candidate.validation,
        candidate.leakage,
        gates.Evidence(values, users, look.alpha, limits.alpha, limits.resamples, params.run.seed),
        candidate.metrics["form"],
        slices.slice_masks(candidate.ranks),
        service.measure(candidate.package, candidate.histories(limits.latency_requests), limits.latency_requests),
    )
    against = None if version is None else {"version": version.number, "package_hash": version.package_hash}
    data = {key: candidate.lineage[key] for key in ("data_hash", "as_of")}
    subject = judge.Subject(candidate.package_hash, data, look, against, terms.limits_digest(limits))
    stated = judge.as_json(judge.judge(case, limits), subject)
    write(root, params, stated, time.monotonic() - started)
    return stated


def champion(root: Path, profile: str) -> tuple[lookup.Version, Path] | None:
    """Return the serving version of a profile and its verified package."""
    return registry.champion_package(locate(root, os.environ), lookup.model_name(profile))


def write(root: Path, params: config.Params, stated: dict[str, Any], seconds: float) -> None:
    """Write the verdict, the report with verdict and times, and the record of this act."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    record = {
        "stage": "gate",
        "params": params.gate.model_dump(mode="json"),
        "metrics": {"look": stated["look"]["number"]},
        "files": ["reports/gates.json", "reports/report.html"],
        "closing": f"verdict {stated['verdict']}",
        "seconds": round(seconds, 2),
        "peak_mb": round(peak_mb, 1),
    }
    metrics, samples = (read_json(root / "outputs" / "evaluate" / f"{name}.json") for name in ("metrics", "samples"))
    done = [read_json(path) for path in sorted((root / "records").glob("*.json"))]
    stages = [{"name": one["stage"], "seconds": one["seconds"], "peak_mb": one["peak_mb"]} for one in done]
    curves = frames.training_curves(root / "outputs")
    page = ReportData(f"RPORec: {params.run.profile}", metrics, samples, curves, stated, stages)
    write_text(root / "reports" / "report.html", render(page))
    write_json(root / "reports" / "gates.json", stated)
    write_json(root / "records" / "gate.json", record)


def main() -> None:
    """Judge the package of the current folder and print the verdict."""
    stated = gate(Path.cwd())
    log.info("gate: what was asked, and the answers\n%s", judge.table(stated))
    failed = ", ".join(one["name"] for one in stated["gates"] if one["status"] == "fail")
    told = f" ({failed} failed)" if failed else ""
    log.info("gate: verdict %s for package %s%s", stated["verdict"], stated["package_hash"][:12], told)


if __name__ == "__main__":
    guarded(main)
