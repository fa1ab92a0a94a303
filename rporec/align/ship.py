"""Does the policy ship, or the backbone? Decided on all rows of `valid`, with the Rechead of each.

A policy must not trail in NDCG@10, and with `align.ship: better` must have bought something: a better ranking, or at
equal ranking thoughts that are truer, or shorter. Not a gate: the gates judge the whole package on rows that nothing
was chosen by.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.align.heldout import ndcg_rows
from rporec.align.run import Trained
from rporec.align.scorer import RewardHead
from rporec.config import AlignParams
from rporec.evaluation.compare import Comparison, compare_columns
from rporec.evaluation.scoring import TestSet, reasoning_of

MEASURES = ("ndcg", "grounded", "named", "words")
_RESAMPLES, _ALPHA = 2000, 0.05
_SHORTER = 0.05  # of the words of a thought that are worth a change of the writer
_FEWER = 0.1  # of the true names that a truer or shorter thought may have less


@dataclass(frozen=True)
class Judged:
    """How a writer does on the n rows of valid.

    Args:
        values: [n, 4] in the order of MEASURES: NDCG@10; of the thought, the share of its names that are true (0 where
            malformed), how many are, and its words. Means over the samples of the row's group.
        users: [n].
    """

    values: npt.NDArray[np.float64]
    users: npt.NDArray[np.str_]

    @property
    def ndcg(self) -> float:
        """NDCG@10, mean over rows."""
        return float(self.values[:, 0].mean())


@dataclass(frozen=True)
class Decision:
    """Which writer ships.

    Args:
        ships: `policy` or `backbone`.
        reason: one sentence.
        valid_ndcg: NDCG@10 of the policy on valid, mean over rows; None without rows.
        valid_ndcg_backbone: the same of the backbone.
        rows: rows compared.
        gains: policy less backbone by MEASURES, with 95 % intervals by user; {} where there is no policy.
    """

    ships: Literal["policy", "backbone"]
    reason: str
    valid_ndcg: float | None
    valid_ndcg_backbone: float | None
    rows: int
    gains: dict[str, Comparison]


def why_untrained(steps: int, prompts: pl.DataFrame, valid: pl.DataFrame) -> str:
    """Return why there is nothing to train, "" when there is.

    Args:
        steps: `align.steps`.
        prompts: ROWS of the align slice.
        valid: ROWS of valid, by which the policy would be judged.
    """
    if steps == 0:
        return "align.steps is 0"
    if prompts.is_empty():
        return "the align slice has no rows to train on"
    return "valid has no rows to judge a policy on" if valid.is_empty() else ""


def judge(head: RewardHead, valid: pl.DataFrame, completions: pl.DataFrame) -> Judged | None:
    """Measure a writer on valid; None without rows.

    Args:
        head: a Rechead `chosen`, which has not learned valid, and which reads these completions.
        valid: ROWS of valid.
        completions: COMPLETIONS, those of these groups among them.
    """
    if valid.is_empty():
        return None
    test = TestSet.from_rows(valid)
    ranked = ndcg_rows(head, test, reasoning_of(completions, test.groups))
    texts = texts_by_group(completions)
    told = valid.select("group", "user_id").join(texts, on="group", how="left", maintain_order="left")
    values = np.column_stack([ranked, told.select(MEASURES[1:]).fill_null(0.0).to_numpy()])
    return Judged(values, told["user_id"].to_numpy())


def texts_by_group(completions: pl.DataFrame) -> pl.DataFrame:
    """Return how the texts of each group are, means over its samples.

    Args:
        completions: COMPLETIONS.

    Returns:
        `group`, `grounded` (0 where malformed), `named`, `words` of the thought, `well_formed`.
    """
    return completions.group_by("group").agg(
        grounded=pl.when("well_formed").then("grounded").otherwise(0.0).mean(),
        named=pl.col("named").cast(pl.Float64).mean(),
        words=pl.col("thought").str.split(" ").list.len().cast(pl.Float64).mean(),
        well_formed=pl.col("well_formed").cast(pl.Float64).mean(),
    )


def decide(policy: Judged | None, backbone: Judged | None, params: AlignParams, seed: int, untrained: str) -> Decision:
    """Compare policy and backbone.

    Args:
        policy: None where none was trained.
        backbone: with the Rechead that read it in its training; None without rows.
        params: `ship`, `ship_margin`.
        seed: of the intervals.
        untrained: why there was nothing to train, "" when a policy was trained.
    """
    if backbone is None:
        return Decision("backbone", untrained, None, None, 0, {})
    rows = len(backbone.values)
    if policy is None:
        return Decision("backbone", untrained, backbone.ndcg, backbone.ndcg, rows, {})
    found = compare_columns(policy.values - backbone.values, backbone.users, _RESAMPLES, _ALPHA, seed)
    gains = dict(zip(MEASURES, found, strict=True))
    compared = f"NDCG@10 on valid {policy.ndcg:.4f} against {backbone.ndcg:.4f} of the backbone"

    def told(ships: Literal["policy", "backbone"], reason: str) -> Decision:
        return Decision(ships, f"{reason}: {compared}", policy.ndcg, backbone.ndcg, rows, gains)

    if policy.ndcg - backbone.ndcg < -params.ship_margin:
        return told("backbone", f"the policy trails by more than the margin of {params.ship_margin:g}")
    if reason := _bought(gains, backbone):
        return told("policy", reason)
    if params.ship == "not_worse":
        return told("policy", f"the policy does not trail by more than the margin of {params.ship_margin:g}")
    return told("backbone", "the policy ranks no better, and its thoughts are neither truer nor shorter")


def _bought(gains: dict[str, Comparison], backbone: Judged) -> str:
    """Return what the policy does better for certain, "" where nothing."""
    change = {name: one.difference or 0.0 for name, one in gains.items()}
    means = dict(zip(MEASURES, backbone.values.mean(axis=0).tolist(), strict=True))
    names_less = change["named"] < -_FEWER * means["named"]
    truer, shorter = gains["grounded"], gains["words"]
    if (gains["ndcg"].low or 0.0) > 0:
        return "the policy ranks better"
    if (truer.low or 0.0) > 0 and not names_less:
        return f"the policy's thoughts are truer ({change['grounded']:+.3f})"
    less_true = truer.high is not None and truer.high < 0
    if (shorter.high or 0.0) < 0 and change["words"] <= -_SHORTER * means["words"] and not (less_true or names_less):
        return f"the policy's thoughts are shorter ({change['words']:+.1f} words)"
    return ""


def summarise(decision: Decision, completions: pl.DataFrame, trained: Trained | None) -> dict[str, Any]:
    """Return what align.json says: the decision, the run in numbers, and how the policy writes on valid."""
    rows = trained.rows[1:] if trained else []
    on_valid = completions.filter(pl.col("slice") == "valid")
    return {
        **asdict(decision),
        "steps": len(rows),
        "best_step": trained.best if trained else 0,
        "ended": trained.ended if trained else "",
        "first_reward": rows[0]["reward"] if rows else None,
        "last_reward": rows[-1]["reward"] if rows else None,
        "last_kl": rows[-1]["kl"] if rows else None,
        "zero_variance": float(np.mean([row["zero_variance"] for row in rows])) if rows else None,
        "valid_well_formed": _mean(on_valid["well_formed"]),
        "valid_grounded": _mean(on_valid.filter("well_formed")["grounded"]),
        "valid_named": _mean(on_valid.filter("well_formed")["named"]),
    }


def _mean(values: pl.Series) -> float | None:
    return float(values.cast(pl.Float64).to_numpy().mean()) if len(values) else None
