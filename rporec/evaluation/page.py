"""The report of a whole run, put together from what its workspace holds: reports/report.html.

Reads files only; how a part looks is report.py, what is drawn charts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rporec.evaluation import frames
from rporec.evaluation.report import ReportData, render
from rporec.files import read_json


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
    return render(
        ReportData(
            title,
            metrics,
            samples,
            frames.training_curves(outputs),
            verdict,
            [{"name": one["stage"], "seconds": one["seconds"], "peak_mb": one["peak_mb"]} for one in done],
        )
    )
