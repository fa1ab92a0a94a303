"""Markov built anew for a day: the plain alternative to a nightly model, which costs seconds and knows all sales.

Decay and half-life are chosen once, on the held-out days of the challenger's own time line; then it is counted twice,
on what the challenger learned from and on everything that is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from rporec.baselines.counting import Markov, choose_counting
from rporec.rechead.examples import Examples
from rporec.rechead.head import count


@dataclass(frozen=True)
class Rebuilt:
    """Two rankers of one recipe.

    Args:
        same: counted on the rows before the challenger's cut-off.
        whole: counted on all rows.
        decay, half_life: the recipe, chosen on valid.
    """

    same: Markov
    whole: Markov
    decay: float
    half_life: float | None


def rebuild(rows: pl.DataFrame, n_items: int, valid: int, test: int) -> Rebuilt:
    """Choose and count.

    Args:
        rows: a ROWS table in time order, all of it known.
        n_items: N.
        valid: s UTC where the challenger's valid rows begin; what is older is what the choice is fitted on.
        test: s UTC where its test rows begin: its cut-off.
    """
    time = pl.col("timestamp")
    before = Examples.from_rows(rows.filter(time < valid))
    held = Examples.from_rows(rows.filter(time >= valid, time < test))
    decay, half_life = choose_counting(before, held, n_items)
    same, whole = (
        Markov(count(Examples.from_rows(part), n_items, decay, half_life)) for part in (rows.filter(time < test), rows)
    )
    return Rebuilt(same, whole, decay, half_life)
