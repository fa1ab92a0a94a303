"""Transition counts over rows that each have a history of their own, as the tests write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rporec.transitions import History, Transitions


def by_row(
    histories: Sequence[History],
    targets: Sequence[int] | np.ndarray,
    n_items: int,
    decay: float,
    half_life: float | None = None,
) -> Transitions:
    """Count over rows; the arguments are those of `Transitions.fit_groups`, one history a target."""
    rows = np.asarray(targets, dtype=np.int64)
    return Transitions.fit_groups(histories, (np.arange(len(rows)), rows), n_items, decay, half_life)
