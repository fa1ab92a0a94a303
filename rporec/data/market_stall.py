"""A few items of a shelf, looked at and weighed: the choice in a large simulated market (`rporec.data.market_large`).

A slot always holds exactly one item, so the item on sale in a slot at a time is computed, never searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rporec.config import MarketParams
from rporec.data.draws import Floats, Ints, Words, uniforms_of
from rporec.data.market_goods import PERIOD, TYPES_PER_DEPARTMENT, Goods, phases
from rporec.data.market_shoppers import (
    NOVELTY,
    NOVELTY_DAYS,
    WEIGHT_BRAND,
    WEIGHT_MATERIAL,
    WEIGHT_OWNED,
    WEIGHT_PRICE,
    WEIGHT_SERIES,
    People,
)  # fmt: skip

Tiny = NDArray[np.int8]
Small = NDArray[np.int32]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Stall:
    """The goods laid out for quick looking up.

    Args:
        brand, series, material, price: of each item, [items].
        appeal: log of the appeal, [items].
        phase: days into the period at which each slot changes hands, [slots].
        place: where a slot's generation 0 would stand in the arrays of items, [slots].
        size: slots of each type, [T]; slot = type + T × number within the type.
        part: where each of M about equal parts of a type's slots begins, and the end of the last, [M + 1, T].
    """

    brand: Tiny
    series: Tiny
    material: Tiny
    price: Singles
    appeal: Singles
    phase: Floats
    place: Ints
    size: Ints
    part: Ints


@dataclass(frozen=True)
class Tastes:
    """What n users want at this purchase: a type, and what they like of it; arrays [n]."""

    kind: Ints
    brand: Tiny
    material: Tiny
    price: Singles

    @staticmethod
    def of(people: People, who: Ints, kind: Ints) -> Tastes:
        """Return the tastes of the users `who` for items of the types `kind`."""
        return Tastes(
            kind,
            people.brand[who, kind // TYPES_PER_DEPARTMENT].astype(np.int8),
            people.material[who].astype(np.int8),
            people.price[who].astype(np.float32),
        )


@dataclass(frozen=True)
class Seen:
    """What n users look at: arrays [M, n].

    Args:
        item: place in the arrays of items.
        age: days on sale.
    """

    item: Ints
    age: Singles


def lay_out(goods: Goods, looked_at: int) -> Stall:
    """Return the stall for buyers who look at M = `looked_at` items, or at the smallest shelf where it has fewer."""
    slots = int(goods.slot[-1]) + 1
    first = np.flatnonzero(np.r_[True, goods.slot[1:] != goods.slot[:-1]])
    size = np.bincount(np.arange(slots) % goods.n_types, minlength=goods.n_types)
    parts = min(looked_at, int(size.min()))
    return Stall(
        goods.true.brand.astype(np.int8), goods.true.series.astype(np.int8), goods.true.material.astype(np.int8),
        goods.true.price_score.astype(np.float32), np.log(goods.appeal).astype(np.float32),
        phases(slots, PERIOD), first - goods.generation[first], size,
        np.arange(parts + 1)[:, None] * size // parts,
    )  # fmt: skip


def look(stall: Stall, kind: Ints, time: Floats, word: Words, number: int) -> Seen:
    """Draw what is looked at: one item from each of M parts of the wanted type's shelf.

    So all are different; the parts begin at a random place of the shelf, so every item is looked at equally often.

    Args:
        stall: the goods.
        kind: wanted type, [n].
        time: days since 1970, [n].
        word: key of each purchase, [n].
        number: of the first of the 1 + M draws.
    """
    size, begin = stall.size[kind], stall.part[:, kind]  # [n], [M + 1, n]
    draws = uniforms_of(word, number + 1 + np.arange(len(begin) - 1)[:, None])
    within = begin[:-1] + (draws * (begin[1:] - begin[:-1])).astype(np.int64)
    within += (uniforms_of(word, number) * size).astype(np.int64)
    slot = np.where(within < size, within, within - size) * len(stall.size) + kind  # [M, n]
    turns = (time - stall.phase[slot]) / PERIOD
    generation = np.floor(turns)
    age = ((turns - generation) * PERIOD).astype(np.float32)
    return Seen(stall.place[slot] + generation.astype(np.int64), age)


def pull(stall: Stall, params: MarketParams, tastes: Tastes, seen: Seen, recent: list[Ints]) -> Singles:
    """Return how strongly each user is drawn to each item looked at, [M, n]: the weights of `market_shoppers.weigh`.

    Args:
        stall: the goods.
        params: of the market.
        tastes: of n users.
        seen: what they look at.
        recent: items bought before, newest first, [n] each, -1 = none.
    """
    item = seen.item
    last = np.where(recent[0] >= 0, stall.series[recent[0]], np.int8(-1))
    score = stall.appeal[item]
    score += np.float32(WEIGHT_BRAND * params.brand_loyalty) * (stall.brand[item] == tastes.brand)
    score += np.float32(WEIGHT_SERIES) * (stall.series[item] == last)
    score += np.float32(WEIGHT_MATERIAL) * (stall.material[item] == tastes.material)
    score -= np.float32(WEIGHT_PRICE / 2) * (stall.price[item] - tastes.price) ** 2
    owned = np.zeros(item.shape, dtype=np.int8)
    for items in recent:
        owned += item == items
    score += np.float32(WEIGHT_OWNED) * owned
    novelty = 1 + np.float32(NOVELTY) * np.exp(seen.age * np.float32(-1 / NOVELTY_DAYS))
    return np.asarray(novelty * np.exp(score))
