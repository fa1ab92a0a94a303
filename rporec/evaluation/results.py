"""metrics.json: the means of every ranker, paired comparisons, slices, form of the reasoning, calibration, the oracle.

Everything is computed from the ranks table and small inputs beside it, so the same ranks give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.config import EvaluateParams
from rporec.evaluation import compare
from rporec.evaluation.metrics import Ranks, hit_rate, metric_rows, summarise
from rporec.evaluation.scoring import calibration_error, reliability
from rporec.evaluation.slices import slice_masks

Array = npt.NDArray[np.float64]

RANKERS = (
    "rporec", "stage1", "no_reasoning", "reasoning_removed", "shuffled_reasoning",
    "popularity", "markov", "ease", "sasrec", "gsasrec", "fusion",
)  # fmt: skip
PRIMARY = "ndcg@10"
_COMPARED = (PRIMARY, "hr@10")
_CURVE_CUTOFFS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)


@dataclass(frozen=True)
class Inputs:
    """What the results are made from.

    Args:
        ranks: the RANKS table, n rows.
        confidence: [n] probability that `rporec` gave its ten best items.
        completions: the policy's completions for the test groups (COMPLETIONS).
        oracle: expected NDCG@10 of the best possible ranking at the events that the oracle knows, or None.
        items: N.
        chosen: which variant each baseline with variants is, and how all did on valid.
    """

    ranks: pl.DataFrame
    confidence: Array
    completions: pl.DataFrame
    oracle: Array | None
    items: int
    chosen: Mapping[str, Mapping[str, Any]]


def ranks_of(frame: pl.DataFrame, ranker: str) -> Ranks:
    """Return one ranker's ranks from a RANKS table."""
    above, ties = (frame[f"{ranker}_{part}"].to_numpy().astype(np.int64) for part in ("above", "ties"))
    return Ranks(above, ties)


def primary_rows(frame: pl.DataFrame, rankers: Sequence[str]) -> dict[str, Array]:
    """Return each ranker's NDCG@10 per row [n], what the gates compare."""
    return {ranker: metric_rows(ranks_of(frame, ranker), (10,))[PRIMARY] for ranker in rankers}


def results(inputs: Inputs, params: EvaluateParams, seed: int) -> dict[str, Any]:
    """Return metrics.json; where there are no test rows, every mean is None."""
    rows = {ranker: metric_rows(ranks_of(inputs.ranks, ranker), params.cutoffs) for ranker in RANKERS}
    users = inputs.ranks["user_id"].to_numpy()
    table = reliability(inputs.confidence, hit_rate(ranks_of(inputs.ranks, "rporec"), 10))
    return {
        "rows": inputs.ranks.height,
        "users": int(inputs.ranks["user_id"].n_unique()),
        "items": inputs.items,
        "rankers": {ranker: summarise(found) for ranker, found in rows.items()},
        "chosen": inputs.chosen,
        "intervals": _own_intervals(rows, users, params, seed),
        "comparisons": _comparisons(rows, users, params, seed),
        "slices": _slices(inputs.ranks, rows, params, seed),
        "form": form(inputs.completions),
        "calibration": {"ece@10": calibration_error(table), "bins": table.to_dicts()},
        "oracle": _oracle(inputs.oracle),
    }


def form(completions: pl.DataFrame) -> dict[str, float | int | None]:
    """Return the share of well-formed completions, the mean grounded share of these, and the number n of all."""
    kept = completions.filter("well_formed")
    return {
        "well_formed": kept.height / completions.height if completions.height else None,
        "grounded": float(kept["grounded"].to_numpy().mean()) if kept.height else None,
        "n": completions.height,
    }


def hit_curves(ranks: pl.DataFrame) -> pl.DataFrame:
    """Return HR@K of every ranker over K, one line a cut-off; without rows, no lines."""
    if ranks.is_empty():
        return pl.DataFrame(schema={"k": pl.Int64, **dict.fromkeys(RANKERS, pl.Float64)})
    curves = {
        ranker: [float(hit_rate(ranks_of(ranks, ranker), k).mean()) for k in _CURVE_CUTOFFS] for ranker in RANKERS
    }
    return pl.DataFrame({"k": list(_CURVE_CUTOFFS), **curves})


def _oracle(found: Array | None) -> dict[str, float | int] | None:
    return None if found is None else {PRIMARY: float(found.mean()), "n": len(found)}


def _own_intervals(
    rows: Mapping[str, Mapping[str, Array]], users: npt.NDArray[Any], params: EvaluateParams, seed: int
) -> dict[str, list[float] | None]:
    """Return the interval of every ranker's own mean NDCG@10, None where it is unknown."""
    found = _intervals(np.stack([rows[ranker][PRIMARY] for ranker in RANKERS], axis=1), users, params, seed)
    return {
        ranker: None if own.low is None or own.high is None else [own.low, own.high]
        for ranker, own in zip(RANKERS, found, strict=True)
    }


def _comparisons(
    rows: Mapping[str, Mapping[str, Array]], users: npt.NDArray[Any], params: EvaluateParams, seed: int
) -> dict[str, dict[str, Any]]:
    """Return rporec minus every other ranker on NDCG@10 and HR@10."""
    pairs = [(other, metric) for other in RANKERS[1:] for metric in _COMPARED]
    table = np.stack([rows["rporec"][metric] - rows[other][metric] for other, metric in pairs], axis=1)
    told: dict[str, dict[str, Any]] = {other: {} for other in RANKERS[1:]}
    for (other, metric), found in zip(pairs, _intervals(table, users, params, seed), strict=True):
        told[other][metric] = asdict(found)
    return told


def _slices(
    ranks: pl.DataFrame, rows: Mapping[str, Mapping[str, Array]], params: EvaluateParams, seed: int
) -> dict[str, dict[str, Any]]:
    """Return per slice the NDCG@10 of every ranker, and rporec minus the late fusion."""
    users = ranks["user_id"].to_numpy()
    difference = rows["rporec"][PRIMARY] - rows["fusion"][PRIMARY]
    return {
        name: {
            "n": int(mask.sum()),
            "rankers": {ranker: float(found[PRIMARY][mask].mean()) for ranker, found in rows.items()},
            "rporec - fusion": asdict(_intervals(difference[mask, None], users[mask], params, seed)[0]),
        }
        for name, mask in slice_masks(ranks).items()
    }


def _intervals(table: Array, users: npt.NDArray[Any], params: EvaluateParams, seed: int) -> list[compare.Comparison]:
    return compare.compare_columns(table, users, params.resamples, 1 - params.confidence, seed)
