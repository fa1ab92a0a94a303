"""What the best ranker could reach on the simulated market: its true choice probabilities, looked up and summed."""

from __future__ import annotations

import numpy as np

from rporec.config import MarketParams
from rporec.data.draws import Floats, Ints
from rporec.data.market_goods import Goods, complements
from rporec.data.market_shoppers import NOISE, Events, People, weigh

_CUTOFF = 10
_CHUNK = 2_048  # events whose whole choice distribution is held at a time


def oracle(params: MarketParams, goods: Goods, people: People, events: Events, start: float) -> Floats:
    """Return the expected NDCG@10 [n] of ranking by the true choice probabilities at each event.

    With one relevant item, NDCG@10 of rank r (from 0) is 1 / log2(r + 2) for r < 10; its expectation sums p over ranks.
    """
    items = np.flatnonzero(goods.gone > start)
    width = min(_CUTOFF, len(items))
    gain = 1 / np.log2(np.arange(width) + 2)
    found = []
    for at in range(0, len(events.item), _CHUNK):
        chance = chances(params, goods, people, events.take(slice(at, at + _CHUNK)), items)
        best = -np.sort(-np.partition(chance, -width, axis=1)[:, -width:], axis=1)
        found.append(best @ gain)
    return np.concatenate(found) if found else np.empty(0)


def chances(params: MarketParams, goods: Goods, people: People, events: Events, items: Ints) -> Floats:
    """Return the true probability [n, M] that each event's user buys each of `items` [M], seen just before."""
    next_type = (1 - params.drift) * np.eye(goods.n_types) + params.drift * complements(goods.n_types)
    next_type = np.vstack([next_type, np.full(goods.n_types, 1 / goods.n_types)])  # row -1: a first purchase
    next_type = (1 - NOISE) * next_type + NOISE / goods.n_types
    kind = goods.true.type[items]
    weights = weigh(params, goods, people, events, items[None, :])
    of_type = weights @ (kind[:, None] == np.arange(goods.n_types))  # [n, T]
    share = next_type[events.intent] / np.maximum(of_type, 1e-300)
    return np.asarray(weights * share[:, kind])
