"""The simulated market: interactions that need no download, from a world that knows its own best ranking.

Users hold a latent intent (a product type) that drifts over complementary types; within the type they choose by brand
loyalty, price taste, favourite material and the series of their last purchase (docs/market.md has the formulas).
Everything is drawn by key (`rporec.data.draws`), so a later `as_of` adds days and changes none. It proves that the
pipeline works, and nothing about real shops.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

from rporec.config import MarketParams
from rporec.data.draws import Floats
from rporec.data.market_goods import PERIOD, Goods, ids_of, make_goods
from rporec.data.market_large import Purchases, buy
from rporec.data.market_oracle import oracle
from rporec.data.market_shoppers import USER_LIFE, Lives, find_lives, make_people
from rporec.data.market_texts import write_items
from rporec.data.market_walk import walk
from rporec.tables import ORACLE, empty

_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Market:
    """The market up to a date.

    Args:
        interactions: user_id, item_id (str), timestamp (s UTC).
        items: the ITEMS table.
        oracle: the ORACLE table, one row an interaction; empty when `looked_at` is a number.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    oracle: pl.DataFrame


def simulate(params: MarketParams, as_of: dt.date, seed: int) -> Market:
    """Return the `params.days` days of the market before `as_of`.

    About users × events_per_user interactions. The same seed gives the same event on the same day for any `as_of`.
    """
    end = float((as_of - _EPOCH).days)
    start = end - params.days
    # Items and users come and go: so many slots that the period sees the asked-for numbers in all.
    slots = max(6, round(params.items / (1 + params.days / PERIOD)))
    goods = make_goods(seed, slots, start - USER_LIFE, end)
    lives = find_lives(params, start, end)
    ndcg = None
    if params.looked_at is None:
        purchases, ndcg = _weighed(params, seed, goods, lives, (start, end))
    else:
        purchases = buy(params, seed, goods, lives, (start, end))
    interactions = _rows(purchases, lives, goods)
    known = empty(ORACLE) if ndcg is None else interactions.with_columns(ndcg=ndcg)
    return Market(interactions, write_items(goods.take(goods.gone > start), seed, params.text_signal), known)


def _weighed(
    params: MarketParams, seed: int, goods: Goods, lives: Lives, period: tuple[float, float]
) -> tuple[Purchases, Floats]:
    """Return the purchases of a period (its start and end in days) after weighing whole shelves, and their oracle."""
    start, end = period
    people = make_people(params, seed, lives)
    events = walk(params, seed, goods, people, end)
    kept = np.flatnonzero(events.time >= start)
    kept = kept[np.lexsort((events.item[kept], events.person[kept], events.time[kept]))]
    events = events.take(kept)
    second = np.floor(events.time * _DAY).astype(np.int32)
    purchases = Purchases(events.person.astype(np.int32), events.item.astype(np.int32), second)
    return purchases, oracle(params, goods, people, events, start)


def _rows(purchases: Purchases, lives: Lives, goods: Goods) -> pl.DataFrame:
    """Return the purchases with ids: each id is written once and then looked up."""
    return pl.DataFrame(
        {
            "user_id": ids_of("U", lives.slot, lives.generation).gather(purchases.person),
            "item_id": goods.ids().gather(purchases.item),
            "timestamp": pl.Series(purchases.second).cast(pl.Int64),
        }
    )
