"""What a ranking rests on: which history items, and what the reasoning changed. It does not change what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rporec.reasoning.parse import Parsed
from rporec.recommender import Item
from rporec.serving.served import Served

_MOST = 10  # newest history items that are left out in turn: each costs a scoring of the catalogue


@dataclass(frozen=True, slots=True)
class Support:
    """How much a history item speaks for a ranked one: by so many nats its log-probability falls without it."""

    item: int
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why items stand where they stand; the first two in the order of the items asked about.

    Args:
        rests_on: of each, the history items that speak for it, the strongest first; () where none does.
        rank_without_reasoning: of each, its place from 1 among all items that may be shown, were the reasoning taken
            away.
        without_reasoning: the ranking from the history alone, as many items as were asked about, best first.
    """

    rests_on: tuple[tuple[Support, ...], ...]
    rank_without_reasoning: tuple[int, ...]
    without_reasoning: tuple[Item, ...]


def explain(
    served: Served,
    history: Sequence[int],
    reasoning: Parsed | None,
    items: Sequence[int],
    allowed: npt.NDArray[np.bool_],
) -> Explanation:
    """Explain the places of some items.

    Args:
        served: the model that ranked.
        history: item indices, oldest first, at least one.
        reasoning: that the ranking read.
        items: indices of the ranked items.
        allowed: [N] which items may be shown.
    """
    recommender = served.recommender
    read = list(history)[-recommender.settings.history_length :]
    out = list(dict.fromkeys(reversed(read)))[:_MOST]  # newest first, each once
    without = [[item for item in read if item != gone] for gone in out]
    given = [] if reasoning is None else [reasoning]
    with served.lock:
        scores = recommender.rechead.score([read, *without], [given] * (1 + len(out))).numpy()  # [1 + O, N]
        alone = recommender.rechead.score([read]).numpy()[0]  # [N]
    falls = scores[0][list(items)] - scores[1:][:, list(items)]  # [O, items]
    rests_on = []
    for column in falls.T:
        order = np.argsort(-column, kind="stable")
        rests_on.append(tuple(Support(out[at], float(column[at])) for at in order.tolist() if column[at] > 0))
    ranks = tuple(int((alone[allowed] > alone[item]).sum()) + 1 for item in items)
    others = recommender.best(np.exp(alone.astype(np.float64)), len(items), allowed)
    return Explanation(tuple(rests_on), ranks, others)
