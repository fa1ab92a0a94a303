"""What a replay shows: reports/replay.json, a table for people, and the intervals over all its nights.

Only reads what the nights left (infra/replay/score.py ranks, infra/replay/chart.py draws).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from infra.replay.score import METRICS, RANKERS, ranks_of
from rporec.config import EvaluateParams
from rporec.evaluation.compare import paired_bootstrap
from rporec.evaluation.metrics import metric_rows

Json = dict[str, Any]
PRIMARY = METRICS[0]
_HEAD = (
    "night", "purchases", "users", *RANKERS, "promoted", "version", "start", "minutes", "CPU min", "MB",
)  # fmt: skip


def build(about: Json, nights: Sequence[Json], scored: pl.DataFrame, params: EvaluateParams, seed: int) -> Json:
    """Return reports/replay.json.

    Args:
        about: what the replay is: profile, commit and others.
        nights: what each night left, oldest first.
        scored: SCORED of all nights together.
        params: section `evaluate`: resamples and level of the intervals.
        seed: of the resamples.
    """
    return {**about, "nights": list(nights), "all": _all(scored, params, seed)}


def _all(scored: pl.DataFrame, params: EvaluateParams, seed: int) -> Json:
    """Return the means over all purchases that every ranker ranked, and what the champion is ahead, paired by user."""
    both = scored.drop_nulls([f"{name}_above" for name in RANKERS])
    values = {}
    for name in RANKERS:
        ranks = ranks_of(both, name)
        assert ranks is not None  # nulls were dropped
        values[name] = metric_rows(ranks, (10,))
    ahead = {}
    for name in RANKERS[1:]:
        own, other = values["champion"][PRIMARY], values[name][PRIMARY]
        found = paired_bootstrap(own, other, both["user_id"].to_numpy(), params.resamples, 1 - params.confidence, seed)
        ahead[name] = {"difference": found.difference, "low": found.low, "high": found.high}
    return {
        "rows": both.height,
        "users": both["user_id"].n_unique(),
        "rows_left_out": scored.height - both.height,
        "confidence": params.confidence,
        **{metric: {name: _mean(values[name][metric]) for name in RANKERS} for metric in METRICS},
        f"champion_minus_{PRIMARY}": ahead,
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def table(built: Json) -> str:
    """Return replay.json as a Markdown table, a row a night and one for all of them."""
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    for night in built["nights"]:
        figures = [_short(night[PRIMARY][name]) for name in RANKERS]
        outcome = ["yes" if night["promoted"] else "no", _or_dash(night["version"]), night["start"] or "-"]
        costs = [f"{night['minutes']:.1f}", f"{night['cpu_minutes']:.1f}", f"{night['bytes'] / 1e6:.0f}"]
        cells = [night["date"], str(night["rows"]), str(night["users"]), *figures, *outcome, *costs]
        lines.append(f"| {' | '.join(cells)} |")
    every, nights = built["all"], built["nights"]
    figures = [_short(every[PRIMARY][name]) for name in RANKERS]
    costs = [f"{sum(night[key] for night in nights) / unit:.{digits}f}" for key, unit, digits in _TOTALS]
    promoted = str(sum(night["promoted"] for night in nights))
    cells = ["all", str(every["rows"]), str(every["users"]), *figures, promoted, "", "", *costs]
    lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"{PRIMARY} of the next day's purchases, full catalogue. The champion against each of the others:"]
    for name, one in every[f"champion_minus_{PRIMARY}"].items():
        told = "unknown" if one["difference"] is None else f"{one['difference']:+.4f}"
        span = "" if one["low"] is None else f" [{one['low']:+.4f}, {one['high']:+.4f}]"
        lines.append(f"- {name}: {told}{span}")
    refused = [f"- {night['date']}: {night['reason']}" for night in nights if not night["promoted"]]
    if refused:
        lines += ["", "Not promoted:", *refused]
    return "\n".join(lines) + "\n"


_TOTALS = (("minutes", 1, 1), ("cpu_minutes", 1, 1), ("bytes", 1e6, 0))


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
