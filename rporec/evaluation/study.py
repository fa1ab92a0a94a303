"""What a study of alignment shows: stage 2 against stage 1 by way of decoding, and settings of the reward compared.

Seeds are averaged per row before the bootstrap, which resamples users. Not for training or
writing (`infra.research.study`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.config import EvaluateParams
from rporec.evaluation import compare
from rporec.evaluation.metrics import Ranks, hit_rate, ndcg

BACKBONE, AS_SET = "backbone", "as_set"
GREEDY, SAMPLED, AVERAGED = "greedy", "sampled", "averaged"
MEASURES = ("ndcg@10", "hr@10", "grounded", "named", "words", "well_formed")
_K = 10

Array = npt.NDArray[np.float64]
Found = Mapping[str, Mapping[int, pl.DataFrame]]


def rows_of(table: pl.DataFrame) -> dict[str, Array]:
    """Return the measures of each row [n] of one slice and one decoding of a STUDIED table, in order of `row_id`."""
    ordered = table.sort("row_id")
    ranks = Ranks(*(ordered[name].to_numpy().astype(np.int64) for name in ("above", "ties")))
    texts = {name: ordered[name].to_numpy() for name in ("grounded", "named", "words", "well_formed")}
    return {"ndcg@10": ndcg(ranks, _K), "hr@10": hit_rate(ranks, _K), **texts}


def compared(found: Found, part: str, decoding: str, params: EvaluateParams, seed: int) -> dict[str, Any]:
    """Return each writer's means and its differences from the backbone, over the seeds that both have.

    Args:
        found: by writer (BACKBONE among them) and seed, the STUDIED table; the same rows in each.
        part: `valid` or `test`.
        decoding: GREEDY, SAMPLED or AVERAGED; writers without such rows are left out.
        params: resamples and level of the intervals.
        seed: of the bootstrap.
    """
    tables = {
        name: {own: table.filter(slice=part, decoding=decoding).sort("row_id") for own, table in seeds.items()}
        for name, seeds in found.items()
    }
    told: dict[str, Any] = {}
    for name, seeds in tables.items():
        shared = [own for own, table in seeds.items() if table.height and own in tables[BACKBONE]]
        if not shared:
            continue
        own_rows, base_rows = ([rows_of(tables[who][own]) for own in shared] for who in (name, BACKBONE))
        mean = {m: np.mean([rows[m] for rows in own_rows], axis=0) for m in MEASURES}
        base = {m: np.mean([rows[m] for rows in base_rows], axis=0) for m in MEASURES}
        users = next(iter(seeds.values()))["user_id"].to_numpy()
        table = np.stack([mean[m] - base[m] for m in MEASURES], axis=1)
        intervals = compare.compare_columns(table, users, params.resamples, 1 - params.confidence, seed)
        told[name] = {
            "seeds": shared,
            "rows": len(users),
            "users": len(np.unique(users)),
            "mean": {m: float(mean[m].mean()) for m in MEASURES},
            "by_seed": {str(own): float(rows["ndcg@10"].mean()) for own, rows in zip(shared, own_rows, strict=True)},
            "minus": {m: asdict(one) for m, one in zip(MEASURES, intervals, strict=True)},
        }
    return told


def markdown(told: Mapping[str, Any]) -> str:
    """Return the two tables for people.

    Args:
        told: `profile`, `confidence`, `says` (writer to clause), `valid` and `test` (`test` by decoding) as from
            `compared`, `runs` (writer to seed to its figures: `best_step`, `ended`, `temperature` by decoding).
    """
    level = f"{told['confidence']:.0%} intervals, resampled by user; seeds averaged per row"
    lines = [
        f"# Alignment of `{told['profile']}`", "",
        "## Settings of the reward", "",
        f"Greedy completions for all rows of valid; differences from the backbone; {level}.", "",
        "| setting | seeds | NDCG@10 | − backbone | grounded | − backbone | true names | − backbone "
        "| words | − backbone | best steps | ended |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, own in told["valid"].items():
        runs = [told["runs"][name].get(str(seed), {}) for seed in own["seeds"]]
        cells = [
            f"`{name}`", _list(own["seeds"]),
            *_pair(own, "ndcg@10", name), *_pair(own, "grounded", name), *_pair(own, "named", name, ".2f"),
            *_pair(own, "words", name, ".1f"),
            _list(run.get("best_step", "–") for run in runs),
            _list(sorted({run["ended"] for run in runs if run.get("ended")})) or "–",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- `{name}`: {told['says'][name]}" for name in told["valid"])]
    return "\n".join([*lines, *_paying(told)]) + "\n"


def _paying(told: Mapping[str, Any]) -> list[str]:
    lines = ["", "## Stage 2 against stage 1", ""]
    if not told["test"]:
        return [*lines, "`as_set` was not written for test yet."]
    lines += [
        "Test rows. Each side samples at the temperature that did best for it on valid.", "",
        f"| decoding | temperatures: backbone; policy {'| {} | − backbone ' * 5}|".format(
            "NDCG@10", "HR@10", "grounded", "true names", "words"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for decoding, both in told["test"].items():
        own = both[AS_SET]
        heat = "; ".join(
            _list(told["runs"][who][str(seed)]["temperature"].get(decoding, 0) for seed in own["seeds"])
            for who in (BACKBONE, AS_SET)
        )
        cells = [decoding, heat, *_pair(own, "ndcg@10"), *_pair(own, "hr@10"), *_pair(own, "grounded"),
                 *_pair(own, "named", "", ".2f"), *_pair(own, "words", "", ".1f")]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    some = told["test"][GREEDY][AS_SET]
    lines += ["", f"{some['rows']} test rows of {some['users']} users, full catalogue; seeds {_list(some['seeds'])}."]
    return lines


def _pair(own: Mapping[str, Any], measure: str, name: str = "", form: str = ".4f") -> tuple[str, str]:
    value = format(own["mean"][measure], form)
    found = own["minus"][measure]
    if name == BACKBONE or found["difference"] is None:
        return value, "–"
    span = "" if found["low"] is None else f" [{found['low']:+{form}}, {found['high']:+{form}}]"
    return value, f"{found['difference']:+{form}}{span}"


def _list(values: Sequence[Any] | Any) -> str:  # noqa: ANN401 - any iterable of printable things
    return ", ".join(str(value) for value in values)
