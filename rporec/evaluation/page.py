"""The report of a whole run, put together from what its workspace holds: reports/report.html.

Reads files only; how a part looks is report.py, what is drawn charts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rporec.days import iso
from rporec.evaluation.curves import training_charts
from rporec.evaluation.report import ReportData, render
from rporec.files import read_json, sha256_file
from rporec.release import layout


def run_page(root: Path, title: str, verdict: Mapping[str, Any]) -> str:
    """Return the page of the run in the workspace `root`.

    Args:
        root: the workspace.
        title: of the page.
        verdict: gates.json.
    """
    outputs = root / "outputs"
    metrics, samples = (read_json(outputs / "evaluate" / f"{name}.json") for name in ("metrics", "samples"))
    done = [read_json(path) for path in sorted((root / "records").glob("*.json"))]
    validated = read_json(outputs / "validate" / "validate.json")
    return render(
        ReportData(
            title,
            metrics,
            samples,
            training_charts(outputs),
            verdict,
            [{"name": one["stage"], "seconds": one["seconds"], "peak_mb": one["peak_mb"]} for one in done],
            validated.get("drift", ()),
            str(validated.get("compared_with") or "no earlier days"),
            _lineage(root, verdict),
        )
    )


def _lineage(root: Path, verdict: Mapping[str, Any]) -> dict[str, str]:
    """Return where the package comes from and what it was judged against, in the order of reading."""
    stated = read_json(root / "outputs" / "package" / layout.LINEAGE)
    source, lock = root / "outputs" / "ingest" / "source.json", root / "dvc.lock"
    files = read_json(source).get("files", []) if source.is_file() else []
    return {
        "package": str(verdict["package_hash"]),
        **{name.replace("_", " "): str(value) for name, value in stated.items() if name != "unseen_from"},
        "trained on what is before": iso(int(stated["unseen_from"])) if stated.get("unseen_from") else "",
        **{f"source file {file['name']}": str(file["sha256"]) for file in files},
        "dvc.lock": sha256_file(lock) if lock.is_file() else "",
        "test rows": f"{verdict['rows_hash']}, look {verdict['look']['number']}",
        "limits of the gates": str(verdict["limits"]),
        **{name: _rival(verdict.get(name)) for name in ("champion", "anchor")},
    }


def _rival(stated: Mapping[str, Any] | None) -> str:
    return "" if stated is None else f"version {stated['version']}, package {stated['package_hash']}"
