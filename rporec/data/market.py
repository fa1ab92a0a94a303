"""The simulated market: a source of interactions that needs no download and knows its own best ranking.

Users hold a latent intent (a product type) that drifts over complementary types; within the type they choose by brand
loyalty, price taste, favourite material and the series of their last purchase. Everything is drawn by key
(`rporec.data.draws`), so a later `as_of` adds days and changes none. It proves that the pipeline works, and nothing
about real shops.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

from rporec.config import MarketParams
from rporec.data.draws import Floats, Ints, choices, normals, uniforms
from rporec.data.market_goods import (
    DEPARTMENTS,
    MATERIALS,
    PERIOD,
    TYPES_PER_DEPARTMENT,
    Goods,
    brands_of,
    complements,
    lives,
    make_goods,
    write_items,
)  # fmt: skip
from rporec.tables import ORACLE

USER_LIFE = 720.0  # days after which a user slot passes to a new user
_DAY = 86_400
_EPOCH = dt.date(1970, 1, 1)
_RECENT = 5  # purchases that a user does not repeat at once
_NOISE = 0.08  # chance of a purchase that owes nothing to the intent
_CUTOFF = 10
_CHUNK = 2_048  # events whose whole choice distribution is held at a time

_WEIGHT_SERIES, _WEIGHT_MATERIAL, _WEIGHT_PRICE, _WEIGHT_OWNED = 1.6, 1.0, 0.8, -4.0
_WEIGHT_BRAND = 2.0  # times params.brand_loyalty
_NOVELTY, _NOVELTY_DAYS = 1.5, 12.0


@dataclass(frozen=True)
class Market:
    """The market up to a date.

    Args:
        interactions: user_id, item_id (str), timestamp (s UTC).
        items: the ITEMS table.
        oracle: the ORACLE table, one row an interaction.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    oracle: pl.DataFrame


@dataclass(frozen=True)
class _People:
    slot: Ints
    generation: Ints
    born: Floats
    gap: Floats  # mean days between purchases
    price: Floats
    material: Ints
    brand: Ints  # [users, departments]


@dataclass(frozen=True)
class _Events:
    """Arrays [n]; `intent` is the latent type before the event (-1 at a user's first), `recent` [n, _RECENT] items."""

    person: Ints
    item: Ints
    time: Floats
    intent: Ints
    recent: Ints

    def take(self, at: Ints | slice) -> _Events:
        """Return the chosen events."""
        return _Events(self.person[at], self.item[at], self.time[at], self.intent[at], self.recent[at])


def simulate(params: MarketParams, as_of: dt.date, seed: int) -> Market:
    """Return the `params.days` days of the market before `as_of`.

    About users × events_per_user interactions. The same seed gives the same event on the same day for any `as_of`.
    """
    end = float((as_of - _EPOCH).days)
    start = end - params.days
    # Items and users come and go: so many slots that the period sees the asked-for numbers in all.
    slots = max(6, round(params.items / (1 + params.days / PERIOD)))
    goods = make_goods(seed, slots, start - USER_LIFE, end)
    people = _make_people(params, seed, start, end)
    events = _walk(params, seed, goods, people, end)
    kept = np.flatnonzero(events.time >= start)
    kept = kept[np.lexsort((events.item[kept], events.person[kept], events.time[kept]))]
    events = events.take(kept)
    ndcg = _oracle(params, goods, people, events, start)
    ids = np.asarray(goods.ids())
    rows = {
        "user_id": [f"U{people.slot[p]:05d}.{people.generation[p]:02d}" for p in events.person.tolist()],
        "item_id": ids[events.item].tolist(),
        "timestamp": np.floor(events.time * _DAY).astype(np.int64),
    }
    on_sale = goods.gone > start
    items = write_items(goods, seed, params.text_signal).filter(pl.col("item_id").is_in(ids[on_sale].tolist()))
    oracle = pl.DataFrame({**rows, "ndcg": ndcg}, schema=ORACLE.columns)
    return Market(oracle.drop("ndcg"), items, oracle)


def _make_people(params: MarketParams, seed: int, start: float, end: float) -> _People:
    turnover = 1 + params.days / USER_LIFE
    slot, generation, born = lives(max(2, round(params.users / turnover)), USER_LIFE, start, end)
    pace = np.exp(0.4 * normals(seed, "user/pace", slot, generation) - 0.08)
    gap = params.days / (params.events_per_user * turnover * pace)
    departments = np.arange(len(DEPARTMENTS), dtype=np.int64)
    local = brands_of(departments)  # [departments, brands a department]
    pick = choices(seed, "user/brand", local.shape[1], slot[:, None], generation[:, None], departments[None, :])
    return _People(
        slot, generation, born, gap,
        0.8 * normals(seed, "user/price", slot, generation),
        choices(seed, "user/material", len(MATERIALS), slot, generation),
        local[departments[None, :], pick],
    )  # fmt: skip


def _walk(params: MarketParams, seed: int, goods: Goods, people: _People, end: float) -> _Events:
    """Let every user shop from birth to the end; step k is everybody's k-th purchase."""
    shelf = _shelves(goods)
    moves = np.cumsum(complements(goods.n_types), axis=1)
    who = np.arange(len(people.slot))
    time = people.born + people.gap * uniforms(seed, "wait", people.slot, people.generation, np.array([-1]))
    intent = np.full(len(who), -1, dtype=np.int64)
    recent = np.full((len(who), _RECENT), -1, dtype=np.int64)
    steps: list[_Events] = []
    while True:
        alive = time < np.minimum(end, people.born[who] + USER_LIFE)
        who, time, intent, recent = who[alive], time[alive], intent[alive], recent[alive]
        if not len(who):
            break
        keys = (people.slot[who], people.generation[who], np.array([len(steps)]))
        now = _next_intent(intent, moves, params.drift, uniforms(seed, "intent", *keys), uniforms(seed, "move", *keys))
        stray = uniforms(seed, "stray", *keys) < _NOISE
        kind = np.where(stray, choices(seed, "stray/type", goods.n_types, *keys), now)
        candidates = shelf[kind]  # [n, items a type]
        weights = _weights(params, goods, people, _Events(who, who, time, intent, recent), candidates)
        total = np.cumsum(weights, axis=1)
        drawn = (total < uniforms(seed, "item", *keys)[:, None] * total[:, -1:]).sum(axis=1)
        item = candidates[np.arange(len(who)), drawn]
        steps.append(_Events(who, item, time, intent, recent))
        recent = np.concatenate([item[:, None], recent[:, :-1]], axis=1)
        intent, time = now, time + people.gap[who] * _wait(seed, keys)
    return _Events(
        np.concatenate([step.person for step in steps]),
        np.concatenate([step.item for step in steps]),
        np.concatenate([step.time for step in steps]),
        np.concatenate([step.intent for step in steps]),
        np.concatenate([step.recent for step in steps]),
    )


def _next_intent(intent: Ints, moves: Floats, drift: float, stay: Floats, move: Floats) -> Ints:
    """Return the intent of the next purchase: the same, or moved on to a complement with chance `drift`."""
    anywhere = np.asarray(move * len(moves), dtype=np.int64)
    moved = (moves[np.maximum(intent, 0)] < move[:, None]).sum(axis=1)
    moved = np.minimum(moved, len(moves) - 1)
    return np.where(intent < 0, anywhere, np.where(stay < drift, moved, intent))


def _wait(seed: int, keys: tuple[Ints, ...]) -> Floats:
    """Return waiting times of mean 1 (Erlang of shape 3: people shop more regularly than at random)."""
    draws = [uniforms(seed, f"wait/{part}", *keys) for part in range(3)]
    return np.asarray(-np.log(draws[0] * draws[1] * draws[2]) / 3.0)


def _shelves(goods: Goods) -> Ints:
    """Return the items of each type [T, most items a type], padded with -1."""
    members = [np.flatnonzero(goods.true.type == kind) for kind in range(goods.n_types)]
    shelf = np.full((goods.n_types, max(map(len, members))), -1, dtype=np.int64)
    for kind, items in enumerate(members):
        shelf[kind, : len(items)] = items
    return shelf


def _weights(params: MarketParams, goods: Goods, people: _People, events: _Events, items: Ints) -> Floats:
    """Return how strongly each event's user is drawn to each candidate within its type, [n, M].

    Args:
        params: of the market.
        goods: what `items` point to.
        people: whom `events` point to.
        events: n events; their `item` is not looked at.
        items: [n, M] or [1, M] candidates, -1 = none.
    """
    true, who, last = goods.true, events.person, events.recent[:, 0]
    score = params.brand_loyalty * _WEIGHT_BRAND * (
        true.brand[items] == people.brand[who[:, None], true.type[items] // TYPES_PER_DEPARTMENT]
    )  # fmt: skip
    score = score + _WEIGHT_SERIES * ((true.series[items] == true.series[last][:, None]) & (last >= 0)[:, None])
    score += _WEIGHT_MATERIAL * (true.material[items] == people.material[who][:, None])
    score -= _WEIGHT_PRICE * (true.price_score[items] - people.price[who][:, None]) ** 2 / 2
    for back in range(_RECENT):
        score += _WEIGHT_OWNED * (items == events.recent[:, back][:, None])
    age = events.time[:, None] - goods.born[items]
    on_sale = (items >= 0) & (age >= 0) & (events.time[:, None] < goods.gone[items])
    novelty = 1 + _NOVELTY * np.exp(-np.maximum(age, 0.0) / _NOVELTY_DAYS)
    return np.asarray(on_sale * goods.appeal[items] * novelty * np.exp(score))


def _oracle(params: MarketParams, goods: Goods, people: _People, events: _Events, start: float) -> Floats:
    """Return the expected NDCG@10 [n] of ranking by the true choice probabilities at each event.

    With one relevant item, NDCG@10 of rank r (from 0) is 1 / log2(r + 2) for r < 10; its expectation sums p over ranks.
    """
    items = np.flatnonzero(goods.gone > start)
    width = min(_CUTOFF, len(items))
    gain = 1 / np.log2(np.arange(width) + 2)
    found = []
    for at in range(0, len(events.item), _CHUNK):
        chance = _chances(params, goods, people, events.take(slice(at, at + _CHUNK)), items)
        best = -np.sort(-np.partition(chance, -width, axis=1)[:, -width:], axis=1)
        found.append(best @ gain)
    return np.concatenate(found) if found else np.empty(0)


def _chances(params: MarketParams, goods: Goods, people: _People, events: _Events, items: Ints) -> Floats:
    """Return the true probability [n, M] that each event's user buys each of `items` [M], seen just before."""
    next_type = (1 - params.drift) * np.eye(goods.n_types) + params.drift * complements(goods.n_types)
    next_type = np.vstack([next_type, np.full(goods.n_types, 1 / goods.n_types)])  # row -1: a first purchase
    next_type = (1 - _NOISE) * next_type + _NOISE / goods.n_types
    kind = goods.true.type[items]
    weights = _weights(params, goods, people, events, items[None, :])
    of_type = weights @ (kind[:, None] == np.arange(goods.n_types))  # [n, T]
    share = next_type[events.intent] / np.maximum(of_type, 1e-300)
    return np.asarray(weights * share[:, kind])
