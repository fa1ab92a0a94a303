"""Every user of the simulated market shops from birth on and weighs the whole shelf: the market with a known oracle."""

from __future__ import annotations

import numpy as np

from rporec.config import MarketParams
from rporec.data.draws import Floats, Ints, choices, uniforms
from rporec.data.market_goods import Goods, complements
from rporec.data.market_shoppers import NOISE, RECENT, USER_LIFE, Events, People, weigh


def walk(params: MarketParams, seed: int, goods: Goods, people: People, end: float) -> Events:
    """Let every user shop from birth to the end (days since 1970); step k is everybody's k-th purchase."""
    shelf = _shelves(goods)
    moves = np.cumsum(complements(goods.n_types), axis=1)
    slot, generation, born = people.lives.slot, people.lives.generation, people.lives.born
    who = np.arange(len(slot))
    time = born + people.gap * uniforms(seed, "wait", slot, generation, np.array([-1]))
    intent = np.full(len(who), -1, dtype=np.int64)
    recent = np.full((len(who), RECENT), -1, dtype=np.int64)
    steps: list[Events] = []
    while True:
        alive = time < np.minimum(end, born[who] + USER_LIFE)
        who, time, intent, recent = who[alive], time[alive], intent[alive], recent[alive]
        if not len(who):
            break
        keys = (slot[who], generation[who], np.array([len(steps)]))
        now = _next_intent(intent, moves, params.drift, uniforms(seed, "intent", *keys), uniforms(seed, "move", *keys))
        stray = uniforms(seed, "stray", *keys) < NOISE
        kind = np.where(stray, choices(seed, "stray/type", goods.n_types, *keys), now)
        candidates = shelf[kind]  # [n, items a type]
        weights = weigh(params, goods, people, Events(who, who, time, intent, recent), candidates)
        total = np.cumsum(weights, axis=1)
        drawn = (total < uniforms(seed, "item", *keys)[:, None] * total[:, -1:]).sum(axis=1)
        item = candidates[np.arange(len(who)), drawn]
        steps.append(Events(who, item, time, intent, recent))
        recent = np.concatenate([item[:, None], recent[:, :-1]], axis=1)
        intent, time = now, time + people.gap[who] * _wait(seed, keys)
    return Events(
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
