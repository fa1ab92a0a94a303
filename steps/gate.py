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
from rporec.evaluation import judge, trial
from rporec.evaluation.candidate import Candidate
from rporec.evaluation.page import run_page
from rporec.files import write_json, write_text
from rporec.release import lookup, recall, record, registry, summary
from rporec.release.place import locate
from steps.stage import guarded

log = logging.getLogger("rporec")


def gate(root: Path) -> dict[str, Any]:
    """Judge the package in `root`; write reports/gates.json, reports/report.html and a record, return the first.

    A package that has been champion keeps the verdict that it once got.

    Raises:
        InputError: the package, the evaluation or a rival's package is missing, changed, or not of one run; or MLflow
            stayed away too long.
    """
    started = time.monotonic()
    params = config.load(root / "params.yaml")
    # Rivals by their hash alone: after signatures are switched on, or a key replaced, the first signed package must be
    # comparable with the champion that it is to replace. Promotion, Bento and service ask for the signature.
    place = locate(root, os.environ)
    candidate = Candidate.load(root / "outputs")
    model, patience = lookup.model_name(params.run.profile), params.promote.outage_seconds
    known = record.patiently(lambda: registry.registered(place, model, candidate.package_hash), patience, place.uri)
    if known is None:
        stated = trial.judged(candidate, place, params)
    else:
        log.info("gate: this package is version %d of %s already, so not judged again", known.number, known.model)
        stated = recall.verdict_of(place, known, root)
    write(root, params, stated, time.monotonic() - started)
    return stated


def write(root: Path, params: config.Params, stated: dict[str, Any], seconds: float) -> None:
    """Write the verdict, the report with verdict and times, and the record of this act."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    left = {
        "stage": "gate",
        "params": params.gate.model_dump(mode="json"),
        "metrics": {"look": stated["look"]["number"]},
        "files": ["reports/gates.json", "reports/report.html"],
        "closing": f"verdict {stated['verdict']}",
        "seconds": round(seconds, 2),
        "peak_mb": round(peak_mb, 1),
    }
    write_json(root / "records" / "gate.json", left)
    write_text(root / "reports" / "report.html", run_page(root, f"RPORec: {params.run.profile}", stated))
    write_json(root / summary.GATES, stated)


def main() -> None:
    """Judge the package of the current folder and print the verdict."""
    os.environ.setdefault(record.RETRIES, record.FEW)
    stated = gate(Path.cwd())
    log.info("gate: what was asked, and the answers\n%s", judge.table(stated))
    failed = ", ".join(one["name"] for one in stated["gates"] if one["status"] == "fail")
    told = f" ({failed} failed)" if failed else ""
    log.info("gate: verdict %s for package %s%s", stated["verdict"], stated["package_hash"][:12], told)


if __name__ == "__main__":
    guarded(main)
