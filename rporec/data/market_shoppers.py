"""The users of the simulated market, and how each is drawn to an item: shared by the whole market and by large ones.

How they walk through it: `rporec.data.market_walk` (the whole shelf) and `rporec.data.market_large` (a few items).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rporec.config import MarketParams
from rporec.data.draws import Floats, Ints, choices, normals
from rporec.data.market_goods import DEPARTMENTS, MATERIALS, TYPES_PER_DEPARTMENT, Goods, brands_of, lives

USER_LIFE = 720.0  # days after which a user slot passes to a new user
RECENT = 5  # purchases that a user does not repeat at once
NOISE = 0.08  # chance of a purchase that owes nothing to the intent

WEIGHT_SERIES, WEIGHT_MATERIAL, WEIGHT_PRICE, WEIGHT_OWNED = 1.6, 1.0, 0.8, -4.0
WEIGHT_BRAND = 2.0  # times params.brand_loyalty
NOVELTY, NOVELTY_DAYS = 1.5, 12.0


@dataclass(frozen=True)
class Lives:
    """Who lives when; arrays [n], times in days since 1970.

    Args:
        slot, generation: which place among the users, and the how-manieth user there.
        born: first day; a life lasts USER_LIFE days.
    """

    slot: Ints
    generation: Ints
    born: Floats

    def take(self, at: slice) -> Lives:
        """Return the chosen lives."""
        return Lives(self.slot[at], self.generation[at], self.born[at])


@dataclass(frozen=True)
class People:
    """Users and their tastes; arrays [n], `brand` [n, departments].

    Args:
        lives: who and when.
        gap: mean days between purchases.
        price: liked log price, in standard deviations from a type's mean.
        material: favourite material.
        brand: favourite brand in each department.
    """

    lives: Lives
    gap: Floats
    price: Floats
    material: Ints
    brand: Ints


@dataclass(frozen=True)
class Events:
    """Purchases; arrays [n], times in days since 1970.

    Args:
        person, item: places in the arrays of People and Goods.
        time: when.
        intent: the latent type before the event, -1 at a user's first.
        recent: [n, RECENT] items bought before, newest first, -1 = none.
    """

    person: Ints
    item: Ints
    time: Floats
    intent: Ints
    recent: Ints

    def take(self, at: Ints | slice) -> Events:
        """Return the chosen events."""
        return Events(self.person[at], self.item[at], self.time[at], self.intent[at], self.recent[at])


def find_lives(params: MarketParams, start: float, end: float) -> Lives:
    """Return every user who lives at some time in [start, end) days, about `params.users`, by slot and generation."""
    return Lives(*lives(max(2, round(params.users / _turnover(params))), USER_LIFE, start, end))


def make_people(params: MarketParams, seed: int, who: Lives) -> People:
    """Draw the tastes of the given users."""
    slot, generation = who.slot, who.generation
    pace = np.exp(0.4 * normals(seed, "user/pace", slot, generation) - 0.08)
    gap = params.days / (params.events_per_user * _turnover(params) * pace)
    departments = np.arange(len(DEPARTMENTS), dtype=np.int64)
    local = brands_of(departments)  # [departments, brands a department]
    pick = choices(seed, "user/brand", local.shape[1], slot[:, None], generation[:, None], departments[None, :])
    return People(
        who, gap,
        0.8 * normals(seed, "user/price", slot, generation),
        choices(seed, "user/material", len(MATERIALS), slot, generation),
        local[departments[None, :], pick],
    )  # fmt: skip


def weigh(params: MarketParams, goods: Goods, people: People, events: Events, items: Ints) -> Floats:
    """Return how strongly each event's user is drawn to each candidate within its type, [n, M].

    Args:
        params: of the market.
        goods: what `items` point to.
        people: whom `events` point to.
        events: n events; their `item` is not looked at.
        items: [n, M] or [1, M] candidates, -1 = none.
    """
    true, who, last = goods.true, events.person, events.recent[:, 0]
    score = params.brand_loyalty * WEIGHT_BRAND * (
        true.brand[items] == people.brand[who[:, None], true.type[items] // TYPES_PER_DEPARTMENT]
    )  # fmt: skip
    score = score + WEIGHT_SERIES * ((true.series[items] == true.series[last][:, None]) & (last >= 0)[:, None])
    score += WEIGHT_MATERIAL * (true.material[items] == people.material[who][:, None])
    score -= WEIGHT_PRICE * (true.price_score[items] - people.price[who][:, None]) ** 2 / 2
    for back in range(RECENT):
        score += WEIGHT_OWNED * (items == events.recent[:, back][:, None])
    age = events.time[:, None] - goods.born[items]
    on_sale = (items >= 0) & (age >= 0) & (events.time[:, None] < goods.gone[items])
    novelty = 1 + NOVELTY * np.exp(-np.maximum(age, 0.0) / NOVELTY_DAYS)
    return np.asarray(on_sale * goods.appeal[items] * novelty * np.exp(score))


def _turnover(params: MarketParams) -> float:
    """Return how many users a slot sees in the period: users come and go."""
    return 1 + params.days / USER_LIFE
