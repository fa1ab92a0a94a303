"""Tables around an evaluation: the ranks table, the oracle's rows, the curves that training left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.evaluation.metrics import Ranks
from rporec.evaluation.results import RANKERS
from rporec.tables import ranks_table

Curve = tuple[str, Mapping[str, Sequence[tuple[float, float]]]]

# Stage folder, file, and what the chart is called.
_CURVES = (
    ("backbone", "curve.csv", "Backbone"),
    ("rechead", "curve.csv", "Rechead"),
    ("align", "rewards.csv", "Alignment"),
)


def ranks_frame(labels: pl.DataFrame, ranks: Mapping[str, Ranks]) -> pl.DataFrame:
    """Return the RANKS table: the labels of n rows and every ranker's `_above` and `_ties`."""
    columns = {
        f"{ranker}_{part}": pl.Series(values, dtype=pl.Int32)
        for ranker in RANKERS
        for part, values in (("above", ranks[ranker].above), ("ties", ranks[ranker].ties))
    }
    return labels.with_columns(**columns).select(list(ranks_table(list(RANKERS)).columns))


def oracle_rows(rows: pl.DataFrame, item_ids: Sequence[str], oracle: pl.DataFrame) -> npt.NDArray[np.float64] | None:
    """Return the best expected NDCG@10 at the rows' events that the oracle knows, None where it knows none.

    Args:
        rows: the test rows (ROWS).
        item_ids: N ids in index order.
        oracle: the ORACLE table.
    """
    ids = pl.Series([item_ids[item] for item in rows["target"]], dtype=pl.String)
    keys = ["user_id", "item_id", "timestamp"]
    known = oracle.unique(keys, keep="first", maintain_order=True)
    events = rows.select("user_id", "timestamp", item_id=ids)
    found = events.join(known, on=keys, how="inner", maintain_order="left", nulls_equal=True)["ndcg"]
    return found.to_numpy() if len(found) else None


def training_curves(outputs: Path) -> dict[str, Curve]:
    """Return what the training stages left as curves, for the report: all shares in one chart, other columns alone."""
    curves: dict[str, Curve] = {}
    for stage, file, title in _CURVES:
        path = outputs / stage / file
        if not path.is_file():
            continue
        frame = pl.read_csv(path, infer_schema_length=None)
        across, *names = [name for name, kind in frame.schema.items() if kind.is_numeric()] or [""]
        series = {name: _points(frame, across, name) for name in names}
        shares = {name: points for name, points in series.items() if points and all(0 <= y <= 1 for _, y in points)}
        if shares:
            curves[f"{title}: shares and metrics"] = (across, shares)
        curves |= {
            f"{title}: {name}": (across, {name: points})
            for name, points in series.items()
            if points and name not in shares
        }
    return curves


def _points(frame: pl.DataFrame, across: str, name: str) -> list[tuple[float, float]]:
    kept = frame.select(across, name).drop_nulls()
    return [(float(x), float(y)) for x, y in kept.iter_rows()]
