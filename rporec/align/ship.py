"""Does the policy ship, or the backbone? Decided on all rows of `valid`, by NDCG@10 with the Rechead of each.

Not a gate: the gates judge the whole package on rows that nothing was chosen by.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from rporec.align.heldout import ndcg_rows
from rporec.align.run import Trained
from rporec.align.scorer import RewardHead
from rporec.evaluation.scoring import TestSet, reasoning_of


@dataclass(frozen=True)
class Decision:
    """Which writer ships.

    Args:
        ships: `policy` or `backbone`.
        reason: one sentence.
        valid_ndcg: NDCG@10 of the policy on valid, mean over rows; None without rows.
        valid_ndcg_backbone: the same of the backbone.
        rows: rows compared.
    """

    ships: Literal["policy", "backbone"]
    reason: str
    valid_ndcg: float | None
    valid_ndcg_backbone: float | None
    rows: int


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


def valid_ndcg(head: RewardHead, valid: pl.DataFrame, completions: pl.DataFrame) -> float | None:
    """Return NDCG@10 on valid when a Rechead reads these completions, mean over rows; None without rows.

    Args:
        head: a Rechead `chosen`, which has not learned valid.
        valid: ROWS of valid.
        completions: COMPLETIONS, those of these groups among them.
    """
    if valid.is_empty():
        return None
    test = TestSet.from_rows(valid)
    return float(ndcg_rows(head, test, reasoning_of(completions, test.groups)).mean())


def decide(rows: int, policy: float | None, backbone: float | None, margin: float, untrained: str) -> Decision:
    """Compare policy and backbone.

    Args:
        rows: of valid.
        policy: `valid_ndcg` of the policy; where none was trained, that of the backbone.
        backbone: the same of the backbone with the Rechead that read it in its training.
        margin: NDCG@10 by which the policy may trail.
        untrained: why there was nothing to train, "" when a policy was trained.
    """
    if policy is None or backbone is None:
        return Decision("backbone", untrained, None, None, 0)
    compared = f"NDCG@10 on valid {policy:.4f} against {backbone:.4f} of the backbone, margin {margin:g}"
    if untrained:
        return Decision("backbone", untrained, policy, backbone, rows)
    if policy - backbone < -margin:
        return Decision("backbone", f"the policy trails beyond the margin: {compared}", policy, backbone, rows)
    return Decision("policy", f"the policy does not trail beyond the margin: {compared}", policy, backbone, rows)


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
    }


def _mean(values: pl.Series) -> float | None:
    return float(values.cast(pl.Float64).to_numpy().mean()) if len(values) else None
