"""The simulated market with millions of purchases: a buyer looks at a few items of the wanted type, not at the shelf.

The users, goods and weights of `rporec.data.market_walk`, other draws. Nobody's whole choice is ever held, which keeps
time and memory in bounds; so the best possible ranking is not known here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rporec.config import MarketParams
from rporec.data.draws import Floats, Ints, Words, uniforms_of, words
from rporec.data.market_goods import MOVES, Goods
from rporec.data.market_shoppers import NOISE, RECENT, USER_LIFE, Lives, People, make_people
from rporec.data.market_stall import Small, Stall, Tastes, lay_out, look, pull
from rporec.splitmix import scramble

_DAY = 86_400
_CHUNK = 16_384  # users who walk at a time, so that arrays stay in the processor's cache; at most 65,536 (_by_person)
_THREADS = 2
# Numbers of the draws of one purchase; `market_stall.look` takes those from _LOOK on.
_STAY, _MOVE, _STRAY, _STRAY_TYPE, _BUY, _WAIT, _LOOK = 0, 1, 2, 3, 4, 5, 8


@dataclass(frozen=True)
class Purchases:
    """Purchases in order of time; arrays [n].

    Args:
        person, item: places in the arrays of Lives and Goods.
        second: seconds UTC since 1970.
    """

    person: Small
    item: Small
    second: Small


@dataclass(frozen=True)
class _Shop:
    """What every chunk of users needs; `start` and `end` in days since 1970."""

    params: MarketParams
    seed: int
    stall: Stall
    start: float
    end: float


def buy(params: MarketParams, seed: int, goods: Goods, lives: Lives, period: tuple[float, float]) -> Purchases:
    """Let every user shop, and return the purchases of the period.

    Args:
        params: of the market, `looked_at` a number.
        seed: root of all randomness.
        goods: all that was on sale since USER_LIFE days before the period.
        lives: all users of the period.
        period: its start and end, days since 1970.
    """
    assert params.looked_at is not None
    shop = _Shop(params, seed, lay_out(goods, params.looked_at), *period)

    def chunk(at: int) -> Purchases:
        part = _by_person(_walk(shop, make_people(params, seed, lives.take(slice(at, at + _CHUNK)))))
        return Purchases(part.person + np.int32(at), part.item, part.second)

    # Chunks share nothing, so more threads change no byte; numpy lets go of the interpreter while it works on arrays.
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(chunk, range(0, len(lives.slot), _CHUNK)))
    return _by_time(_join(parts), int(period[0]) * _DAY)


def _walk(shop: _Shop, people: People) -> list[Purchases]:
    """Let some users shop from birth to the end; step k is everybody's k-th purchase.

    From birth, not from the period's start: else a later start would make other histories.
    """
    lives, n_types = people.lives, len(shop.stall.size)
    keys = words(shop.seed, "looked", lives.slot, lives.generation)
    last_day = np.minimum(shop.end, lives.born + USER_LIFE)
    who = np.arange(len(keys))
    time = lives.born + people.gap * uniforms_of(_of_step(keys, -1), _WAIT)
    intent = np.full(len(who), -1, dtype=np.int64)
    recent = [np.full(len(who), -1, dtype=np.int64)] * RECENT  # newest first
    steps: list[Purchases] = []
    for step in range(1 << 62):
        alive = time < last_day[who]
        who, time, intent = who[alive], time[alive], intent[alive]
        recent = [items[alive] for items in recent]
        if not len(who):
            return steps
        word = _of_step(keys[who], step)
        intent = _next_intent(intent, n_types, shop.params.drift, word)
        stray = uniforms_of(word, _STRAY) < NOISE
        kind = np.where(stray, _pick(uniforms_of(word, _STRAY_TYPE), n_types), intent)
        item = _choose(shop, Tastes.of(people, who, kind), time, recent, word)
        inside = time >= shop.start
        second = np.floor(time[inside] * _DAY).astype(np.int32)
        steps.append(Purchases(who[inside].astype(np.int32), item[inside].astype(np.int32), second))
        recent = [item, *recent[:-1]]
        time = time + people.gap[who] * _wait(word)
    raise AssertionError("nobody lives for ever")


def _of_step(keys: Words, step: int) -> Words:
    return scramble(keys ^ scramble(np.array([step], dtype=np.int64).view(np.uint64)))


def _pick(uniform: Floats, n: int) -> Ints:
    return np.asarray(uniform * n, dtype=np.int64)


def _next_intent(intent: Ints, n_types: int, drift: float, word: Words) -> Ints:
    """Return the intent of the next purchase: the same, or moved on to a complement with chance `drift`."""
    move = uniforms_of(word, _MOVE)
    further = np.array([step for step, _ in MOVES])
    bounds = np.cumsum([chance for _, chance in MOVES])[:-1]
    moved = (intent + further[np.searchsorted(bounds, move)]) % n_types
    now = np.where(uniforms_of(word, _STAY) < drift, moved, intent)
    return np.where(intent < 0, _pick(move, n_types), now)


def _wait(word: Words) -> Floats:
    """Return waiting times of mean 1 (Erlang of shape 3, as in `market_walk`)."""
    draws = uniforms_of(word, _WAIT) * uniforms_of(word, _WAIT + 1) * uniforms_of(word, _WAIT + 2)
    return np.asarray(-np.log(draws) / 3.0)


def _choose(shop: _Shop, tastes: Tastes, time: Floats, recent: list[Ints], word: Words) -> Ints:
    """Return the item that each user buys, [n]."""
    seen = look(shop.stall, tastes.kind, time, word, _LOOK)
    total = pull(shop.stall, shop.params, tastes, seen, recent)  # [M, n]
    for part in range(1, len(total)):  # np.cumsum over the first axis is many times slower
        total[part] += total[part - 1]
    drawn = (total < uniforms_of(word, _BUY) * total[-1]).sum(axis=0)
    return np.asarray(seen.item[drawn, np.arange(len(drawn))])


def _join(parts: list[Purchases]) -> Purchases:
    return Purchases(
        np.concatenate([part.person for part in parts]),
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.second for part in parts]),
    )


def _by_person(steps: list[Purchases]) -> Purchases:
    """Return the purchases of one chunk by person, each person's by time."""
    if not steps:
        none = np.empty(0, dtype=np.int32)
        return Purchases(none, none, none)
    whole = _join(steps)
    order = np.argsort(whole.person.astype(np.uint16), kind="stable")  # 16 bits: a radix sort
    return Purchases(whole.person[order], whole.item[order], whole.second[order])


def _by_time(purchases: Purchases, first: int) -> Purchases:
    """Return the purchases by second, within one second as they came; `first` is no later than any second."""
    key = (purchases.second.astype(np.int64) - first) << 32
    key += np.arange(len(key))
    key.sort()  # faster than an argsort, and nothing else is held
    at = (key & 0xFFFFFFFF).astype(np.uint32)
    return Purchases(purchases.person[at], purchases.item[at], purchases.second[at])
