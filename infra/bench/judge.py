"""How fast rankers are judged, from their scores on: ranks, all of metrics.json, paired comparisons.

A part of `make bench-rechead` (`infra.bench.rechead`). Rows and scores are drawn at random, about as many as Industrial
has; every row is a group of its own, which is the most work. Not timed: what makes the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from infra.bench.world import in_turns
from rporec import tables
from rporec.config import EvaluateParams
from rporec.evaluation.compare import compare_columns, paired_bootstrap
from rporec.evaluation.frames import ranks_frame
from rporec.evaluation.metrics import Floats, Ranks, metric_rows, summarise
from rporec.evaluation.results import RANKERS, Inputs, hit_curves, results
from rporec.evaluation.scoring import TestSet, rank_rows, top_mass
from rporec.evaluation.slices import label_rows

ROWS, ITEMS, USERS = 4_500, 3_700, 2_000
_KNOWN, _LONGEST, _COMPARISONS = 40_000, 12, 10
_MANY_USERS, _MANY = 5_000, 10_000


def judging(params: EvaluateParams, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the seconds from scores to the means of one ranker, and from all rankers' scores to metrics.json."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((ROWS + len(RANKERS), ITEMS), dtype=np.float32)  # each ranker starts a row further
    rows, known = _rows(rng, ROWS, 0), _rows(rng, _KNOWN, ROWS)
    texts = _completions(rng)
    test = TestSet.from_rows(rows)

    def rank(names: Sequence[str]) -> tuple[dict[str, Ranks], npt.NDArray[np.float64]]:
        confidence = np.zeros(ROWS)

        def score(part: slice) -> dict[str, Floats]:
            scores = {name: pool[part.start + place : part.stop + place] for place, name in enumerate(names)}
            confidence[part] = top_mass(scores[names[0]] - np.float32(np.log(ITEMS)))  # about probabilities
            return scores

        return rank_rows(test, names, score, ITEMS), confidence

    def tell(ranks: Mapping[str, Ranks], confidence: npt.NDArray[np.float64]) -> None:
        frame = ranks_frame(label_rows(rows, known), ranks)
        results(Inputs(frame, confidence, texts, None, ITEMS, {}), params, 0)
        hit_curves(frame)

    given = rank(RANKERS)
    seconds = in_turns(
        {
            "one": lambda: summarise(metric_rows(rank(["given"])[0]["given"], params.cutoffs)),
            "ranks": lambda: rank(RANKERS),
            "results": lambda: tell(*given),
        },
        rounds,
    )
    about = {"rows": ROWS, "items": ITEMS}
    whole = {"seconds": seconds["ranks"] + seconds["results"], "ranks_s": seconds["ranks"],
             "results_s": seconds["results"]}  # fmt: skip
    return {
        "metrics of one ranker": {"seconds": round(seconds["one"], 3), **about},
        "evaluation of all rankers": {
            **{name: round(taken, 3) for name, taken in whole.items()},
            "rankers": len(RANKERS), "users": USERS, "resamples": params.resamples, **about,
        },
    }  # fmt: skip


def comparing(resamples: int, alpha: float, rounds: int) -> dict[str, Any]:
    """Return the seconds of ten comparisons: side by side, as stage evaluate does, and one by one."""
    rng = np.random.default_rng(0)
    users = rng.integers(USERS, size=ROWS)
    table = rng.standard_normal((ROWS, _COMPARISONS))
    zeros = np.zeros(ROWS)

    def one_by_one() -> None:
        for column in table.T:
            paired_bootstrap(column, zeros, users, resamples, alpha, 0)

    seconds = in_turns(
        {"together": lambda: compare_columns(table, users, resamples, alpha, 0), "one_by_one": one_by_one}, rounds
    )
    told = {f"{name}_s": round(taken, 3) for name, taken in seconds.items()}
    return {**told, "rows": ROWS, "users": USERS, "resamples": resamples}


def largest(rounds: int) -> dict[str, Any]:
    """Return the seconds of one paired comparison of 5,000 users of two rows each by 10,000 resamples."""
    users = np.repeat(np.arange(_MANY_USERS), 2)
    values = np.random.default_rng(0).standard_normal(len(users))
    zeros = np.zeros(len(users))
    seconds = in_turns({"one": lambda: paired_bootstrap(values, zeros, users, _MANY, 0.05, 0)}, rounds)
    return {"seconds": round(seconds["one"], 3), "users": _MANY_USERS, "resamples": _MANY}


def _rows(rng: np.random.Generator, count: int, start: int) -> pl.DataFrame:
    """Return a ROWS table of groups of one row; few items are sold often, so that every slice has rows."""
    drawn = (ITEMS * rng.random((count, _LONGEST + 1)) ** 3).astype(np.int32)
    lengths = rng.integers(1, _LONGEST + 1, count)
    return pl.DataFrame(
        {
            "row_id": np.arange(count) + start, "group": np.arange(count) + start,
            "user_id": [f"u{user}" for user in rng.integers(USERS + start // 10, size=count)],
            "timestamp": np.arange(count) + start,
            "history": [line[:length] for line, length in zip(drawn[:, 1:], lengths, strict=True)],
            "target": drawn[:, 0], "slice": ["test"] * count,
        },
        schema=tables.ROWS.columns,
    )  # fmt: skip


def _completions(rng: np.random.Generator) -> pl.DataFrame:
    """Return a COMPLETIONS table of one short text a row."""
    text = {name: ["text"] * ROWS for name in ("prompt", "completion", "thought", "answer")}
    return pl.DataFrame(
        {
            "group": np.arange(ROWS), "sample": np.zeros(ROWS, np.int32), "slice": ["test"] * ROWS, **text,
            "well_formed": rng.random(ROWS) < 0.9, "grounded": rng.random(ROWS), "named": [1] * ROWS,
        },
        schema=tables.COMPLETIONS.columns,
    )  # fmt: skip
