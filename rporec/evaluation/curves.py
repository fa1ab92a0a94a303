"""The curves that the training stages left behind, read once for the report's charts and for MLflow.

Not here: what is drawn how (`charts`), and what is sent where (`rporec.release.record`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

Points = Sequence[tuple[float, float]]
Chart = tuple[str, Mapping[str, Points]]

_FILES = {"backbone": "curve.csv", "rechead": "curve.csv", "align": "rewards.csv"}  # by stage
_TITLES = {"backbone": "Backbone", "rechead": "Rechead", "align": "Alignment"}
# Charts of more than one column; other columns have a chart alone.
_TOGETHER = {
    "align": {
        "reward": ("reward",),
        "terms of the reward": ("format", "outside", "rank", "concise", "similar", "entropy", "grounded"),
        "form of the completions": (
            "well_formed",
            "valid",
            "zero_variance",
            "zero_variance_first",
            "heldout_well_formed",
            "heldout_grounded",
        ),
        "held-out NDCG@10": ("heldout_ndcg@10",),
        "true names a held-out thought": ("heldout_named",),
        "length, tokens": ("length", "heldout_length"),
    },
}


@dataclass(frozen=True)
class Curves:
    """The curves of one stage.

    Args:
        across: name of x, a step or an epoch.
        series: (x, y) by column, in the order of the file; steps at which nothing was measured are left out.
    """

    across: str
    series: Mapping[str, Points]


def read_curves(outputs: Path) -> dict[str, Curves]:
    """Return the curves below a workspace's outputs by stage; a stage without a file or a row has none."""
    found = {}
    for stage, file in _FILES.items():
        path = outputs / stage / file
        if not path.is_file():
            continue
        frame = pl.read_csv(path, infer_schema_length=None)
        across, *names = [name for name, kind in frame.schema.items() if kind.is_numeric()] or [""]
        series = {name: points for name in names if (points := _points(frame, across, name))}
        if series:
            found[stage] = Curves(across, series)
    return found


def training_charts(outputs: Path) -> dict[str, Chart]:
    """Return the line charts of the report by title: name of x, and the series that share the chart."""
    charts: dict[str, Chart] = {}
    for stage, curves in read_curves(outputs).items():
        together = _TOGETHER.get(stage, {})
        grouped = {name for names in together.values() for name in names}
        panels = {**together, **{name: (name,) for name in curves.series if name not in grouped}}
        for title, names in panels.items():
            series = {name: curves.series[name] for name in names if name in curves.series}
            if series:
                charts[f"{_TITLES[stage]}: {title}"] = (curves.across, series)
    return charts


def _points(frame: pl.DataFrame, across: str, name: str) -> list[tuple[float, float]]:
    kept = frame.select(across, name).drop_nulls()
    return [(float(x), float(y)) for x, y in kept.iter_rows()]
