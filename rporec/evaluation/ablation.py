"""What ablations show: means, paired intervals against two arms, a table and a plot, from the ranks of arms and seeds.

Seeds are averaged per row before the bootstrap, which resamples users. Not for fitting arms (`infra.research.ablate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.config import EvaluateParams
from rporec.evaluation import compare
from rporec.evaluation.charts import Bar, bar_file
from rporec.evaluation.metrics import Ranks, hit_rate, ndcg
from rporec.evaluation.slices import Mask

AGAINST = ("no_reasoning", "reasoning", "fusion")
_SLICED = ("reasoning", "shuffled_reasoning", "oracle_answer")  # whose lift is told by slice
PRIMARY = "ndcg@10"
_NOWHERE = {"mean": {PRIMARY: None}}
_METRICS = {PRIMARY: ndcg, "hr@10": hit_rate}
_K = 10

Array = npt.NDArray[np.float64]
Found = Mapping[str, Mapping[int, pl.DataFrame]]


def summary(
    found: Found, masks: Mapping[str, Mask], params: EvaluateParams, seed: int, alone: Mapping[str, str]
) -> dict[str, Any]:
    """Return the figures of every arm on `test` and on `valid`, and the lift over `no_reasoning` by slice of `test`.

    Args:
        found: by arm and seed, the ABLATED table; all hold the same rows of `test`, of `valid` the same or
            none, and all arms the same seeds.
        masks: by name, the test rows of a slice [n] bool, in order of `row_id`.
        params: resamples and level of the intervals.
        seed: of the bootstrap.
        alone: of arms of another head than that of `no_reasoning`, the arm that is their head without reasoning.
    """
    return {
        **{part: _part(_frames(found, part), params, seed, alone) for part in ("test", "valid")},
        "slices": _slices(_frames(found, "test"), masks, params, seed),
    }


def _frames(found: Found, part: str) -> dict[str, dict[int, pl.DataFrame]]:
    """Return the rows of a part; arms that have none where others have some are left out (baselines, on valid)."""
    frames = {
        arm: {own: table.filter(slice=part).sort("row_id") for own, table in seeds.items()}
        for arm, seeds in found.items()
    }
    full = {arm: seeds for arm, seeds in frames.items() if any(table.height for table in seeds.values())}
    return full or frames


def _slices(frames: Found, masks: Mapping[str, Mask], params: EvaluateParams, seed: int) -> dict[str, Any]:
    base = AGAINST[0]
    arms = [arm for arm in _SLICED if arm in frames]
    means = {arm: np.mean([_rows(table)[PRIMARY] for table in frames[arm].values()], axis=0) for arm in [base, *arms]}
    users = next(iter(frames[base].values()))["user_id"].to_numpy()
    table = np.stack([means[arm] - means[base] for arm in arms] or [np.zeros(len(users))], axis=1)
    told: dict[str, Any] = {}
    for name, mask in masks.items():
        rows = table[mask]
        intervals = compare.compare_columns(rows, users[mask], params.resamples, 1 - params.confidence, seed)
        lifts = {arm: {PRIMARY: asdict(found)} for arm, found in zip(arms, intervals, strict=False)}
        told[name] = {"rows": int(mask.sum()), base: _mean(means[base][mask]), "lift": lifts}
    return told


def _part(frames: Found, params: EvaluateParams, seed: int, alone: Mapping[str, str]) -> dict[str, Any]:
    some = next(iter(next(iter(frames.values())).values()))
    rows = {arm: {own: _rows(table) for own, table in seeds.items()} for arm, seeds in frames.items()}
    means = {
        arm: {m: np.mean([own[m] for own in seeds.values()], axis=0) for m in _METRICS} for arm, seeds in rows.items()
    }
    others = {arm: [other for other in (*AGAINST, alone.get(arm)) if other in rows] for arm in rows}
    pairs = [(arm, other, metric) for arm in rows for other in others[arm] for metric in _METRICS]
    table = np.stack([means[arm][metric] - means[other][metric] for arm, other, metric in pairs], axis=1)
    users = some["user_id"].to_numpy()
    intervals = compare.compare_columns(table, users, params.resamples, 1 - params.confidence, seed)
    arms: dict[str, Any] = {
        arm: {
            "mean": {metric: _mean(values) for metric, values in means[arm].items()},
            "by_seed": {
                str(own): {metric: _mean(values) for metric, values in by_metric.items()}
                for own, by_metric in rows[arm].items()
            },
            "minus": {other: {} for other in others[arm]},
        }
        for arm in rows
    }
    for (arm, other, metric), interval in zip(pairs, intervals, strict=True):
        arms[arm]["minus"][other][metric] = asdict(interval)
    return {"rows": some.height, "users": some["user_id"].n_unique(), "arms": arms}


def _rows(table: pl.DataFrame) -> dict[str, Array]:
    ranks = Ranks(*(table[name].to_numpy().astype(np.int64) for name in ("above", "ties")))
    return {name: metric(ranks, _K) for name, metric in _METRICS.items()}


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None


def markdown(told: Mapping[str, Any]) -> str:
    """Return the table for people.

    Args:
        told: ablate.json: `profile`, `seeds`, `says` (arm to clause), `left_out` (arm to reason), `confidence`,
            `strength` (arm to seed to the weight that valid gave the reasoning, None without any), and the figures
            of `summary`.
    """
    test, valid = told["test"], told["valid"]
    seeds = ", ".join(str(seed) for seed in told["seeds"])
    level = f"{told['confidence']:.0%} intervals, resampled by user"
    lines = [
        f"# Ablations of `{told['profile']}`",
        "",
        f"{test['rows']} test rows of {test['users']} users, full catalogue; seeds {seeds}, averaged per row; {level}.",
        "",
        f"| arm | NDCG@10 | HR@10 | {' | '.join(f'NDCG@10 − {other}' for other in AGAINST)} | seeds {seeds} "
        "| valid NDCG@10 | strength |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, own in test["arms"].items():
        by_seed = ", ".join(_figure(one[PRIMARY]) for one in own["by_seed"].values())
        cells = [
            arm, _figure(own["mean"][PRIMARY]), _figure(own["mean"]["hr@10"]),
            *(_difference(own["minus"].get(other), arm == other) for other in AGAINST),
            by_seed, _figure(valid["arms"].get(arm, _NOWHERE)["mean"][PRIMARY]), _strengths(told["strength"][arm]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Strength: the weight that `valid` gave the reasoning, by seed; 0 = the reasoning is shut out.", ""]
    lines += [f"- `{arm}`: {told['says'][arm]}{_lift(own['minus'])}" for arm, own in test["arms"].items()]
    lines += [f"- `{arm}` was left out: {reason}" for arm, reason in told["left_out"].items()]
    return "\n".join([*lines, *_slice_table(told["slices"])]) + "\n"


def _lift(minus: Mapping[str, Any]) -> str:
    """Return the lift of an arm of another head over that head alone, in words, "" for all others."""
    found = [(other, own) for other, own in minus.items() if other not in AGAINST]
    return "".join(f"; NDCG@10 − {other} {_difference(own)}" for other, own in found)


def _slice_table(slices: Mapping[str, Any]) -> list[str]:
    arms = list(next(iter(slices.values()))["lift"]) if slices else []
    if not arms:
        return []
    lines = ["", "Lift over `no_reasoning` by slice of the test rows, NDCG@10:", ""]
    lines += [f"| slice | rows | no_reasoning | {' | '.join(arms)} |", "|---|---|---|" + "---|" * len(arms)]
    for name, own in slices.items():
        cells = [name, str(own["rows"]), _figure(own[AGAINST[0]]), *(_difference(own["lift"][arm]) for arm in arms)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def plot(told: Mapping[str, Any], apart: Mapping[str, str]) -> str:
    """Return an SVG file: NDCG@10 of every arm minus `no_reasoning` on test.

    Args:
        told: as for `markdown`.
        apart: arms of another scale, which would hide all others, and why; they are told of below the bars.
    """
    bars, notes = [], []
    for arm, own in told["test"]["arms"].items():
        found = own["minus"].get(AGAINST[0], {}).get(PRIMARY)
        if arm == AGAINST[0] or found is None or found["difference"] is None:
            continue
        if arm in apart:
            notes.append(f"{arm} ({apart[arm]}; not drawn): {_difference(own['minus'][AGAINST[0]])}")
        else:
            bars.append(Bar(arm, found["difference"], found["low"], found["high"], strong=arm == AGAINST[1]))
    title = f"NDCG@10 minus no_reasoning, {told['profile']}, test, seeds {', '.join(map(str, told['seeds']))}"
    return bar_file(title, bars or [Bar(AGAINST[0], 0.0)], notes)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _strengths(by_seed: Mapping[str, float | None]) -> str:
    return ", ".join("–" if value is None else f"{value:.2f}" for value in by_seed.values())


def _difference(found: Mapping[str, Any] | None, same: bool = False) -> str:
    if same or not found or found[PRIMARY]["difference"] is None:
        return "–"
    own = found[PRIMARY]
    span = "" if own["low"] is None else f" [{own['low']:+.4f}, {own['high']:+.4f}]"
    return f"{own['difference']:+.4f}{span}"
