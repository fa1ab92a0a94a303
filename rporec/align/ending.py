"""Which step of a run is the best, and when a run ends before its last step, by name.

Pure functions of the rows that the run left (`rporec.align.curves`), so that a resumed run decides alike.
"""

from __future__ import annotations

import numpy as np

from rporec.align.curves import Row
from rporec.config import AlignParams

_LONGER = 2.0  # times the backbone's length that is no collapse yet
_SILENT = 0.5  # of the true names of the backbone's thoughts
_GAMED = 2  # checks in a row that tell a gamed reward from a bad draw


def best_step(rows: list[Row], params: AlignParams, backbone: Row) -> int:
    """Return the best trained step that has not collapsed, 0 where all of them had.

    A step takes the place of the best before it when its held-out NDCG@10 is higher by more than `align.near_margin`,
    or when it is within that margin of the highest so far, which so few rows cannot tell apart, and its thoughts are
    truer, and name as many true things but for `align.collapse_margin` of them: who names less, errs less. So only the
    newest step can become the best, and its weights are at hand.

    Args:
        rows: of all steps so far, step 0 (the policy that the run starts from) first.
        params: margins.
        backbone: its held-out check, from which a collapse is measured; `rows[0]` where the run starts from it.
    """
    start, *checks = _checks(rows)
    best, top = start, 0.0
    for row in checks:
        if collapse(backbone, row, params.collapse_margin):
            continue
        measure, margin = row["heldout_ndcg@10"], params.near_margin
        top = max(top, measure)
        silent = row["heldout_named"] < best["heldout_named"] * (1.0 - params.collapse_margin)
        truer = row["heldout_grounded"] > best["heldout_grounded"] and not silent and measure >= top - margin
        if best is start or truer or measure > best["heldout_ndcg@10"] + margin:
            best = row
    return int(best["step"])


def collapse(backbone: Row, row: Row, margin: float) -> str:
    """Return the name of what has collapsed since the backbone, "" where nothing has.

    `form`, `truth`: the share of well-formed completions, or what of the thoughts is in the prompts, fell by more than
    `margin`; `names`: thoughts name less than half as many true things; `length`: completions are less than half or
    more than twice as long.

    Args:
        backbone: its held-out check.
        row: one of a policy.
        margin: `align.collapse_margin`.
    """
    for name, column in (("form", "heldout_well_formed"), ("truth", "heldout_grounded")):
        if row[column] < backbone[column] - margin:
            return name
    if row["heldout_named"] < backbone["heldout_named"] * _SILENT:
        return "names"
    return "" if 0.5 <= row["heldout_length"] / max(backbone["heldout_length"], 1.0) <= _LONGER else "length"


def why_ended(rows: list[Row], params: AlignParams, backbone: Row) -> str:
    """Return why a run ends before its last step, "" where it may go on.

    `collapse of form` (and so on, see `collapse`); `a gamed reward`: at two checks in a row the reward was higher than
    before the first, and held-out NDCG@10 below step 0's by more than `align.ship_margin`; `no better step`: the last
    `align.patience` checks brought nothing better than a check before them.

    Args:
        rows: of all steps so far, step 0 first.
        params: margins and patience.
        backbone: as in `best_step`.
    """
    checks = _checks(rows)[1:]
    if not checks:
        return ""
    if name := collapse(backbone, checks[-1], params.collapse_margin):
        return f"collapse of {name}"
    if len(checks) > _GAMED and all(_gamed(rows, checks, place, params) for place in range(-_GAMED, 0)):
        return "a gamed reward"
    best = best_step(rows, params, backbone)
    return "no better step" if best and sum(row["step"] > best for row in checks) >= params.patience else ""


def _gamed(rows: list[Row], checks: list[Row], place: int, params: AlignParams) -> bool:
    """Whether the reward rose up to a check (counted from the last) while the held-out measure fell."""
    start, check = rows[0], checks[place]
    first = _mean_reward(rows, 0.0, checks[0]["step"])
    since = _mean_reward(rows, checks[place - 1]["step"], check["step"])
    return since > first and check["heldout_ndcg@10"] < start["heldout_ndcg@10"] - params.ship_margin


def _mean_reward(rows: list[Row], after: float, until: float) -> float:
    return float(np.mean([row["reward"] for row in rows if after < row["step"] <= until]))


def _checks(rows: list[Row]) -> list[Row]:
    """Return the rows of held-out checks, that of step 0 first."""
    return [row for row in rows if row["heldout_ndcg@10"] is not None]
