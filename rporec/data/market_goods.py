"""The goods of the simulated market: what an item is. What is written about it: `rporec.data.market_texts`.

An item's slot holds one item after another: each lives PERIOD days and then gives way to a new one, so a few new
items arrive every day for ever. Not about users or choices: those are in
`rporec.data.market_shoppers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from rporec.data.draws import Flags, Floats, Ints, choices, normals

PERIOD = 480.0  # days an item stays on sale
TYPES_PER_DEPARTMENT = 4
SERIES_PER_BRAND = 3
# A brand sells in every third department, so that loyalty reaches over types but not over the whole market.
_BRAND_STRIDE = 3
_GOLDEN = 0.6180339887498949

# What is bought next when the intent moves on: so many types further, with this chance.
MOVES = ((1, 0.55), (TYPES_PER_DEPARTMENT, 0.30), (2, 0.15))
DEPARTMENTS = ("kitchen", "coffee", "garden", "workshop", "camping", "desk")
MATERIALS = ("steel", "oak", "ceramic", "canvas")
N_TYPES, N_BRANDS, N_COLOURS, N_SIZES = 24, 24, 6, 3  # as many as `market_texts` has words for


@dataclass(frozen=True)
class Attributes:
    """What one item is, as numbers; each field is an array [n]."""

    type: Ints
    brand: Ints
    series: Ints
    material: Ints
    colour: Ints
    size: Ints
    price_score: Floats  # log price in standard deviations from its type's mean


@dataclass(frozen=True)
class Goods:
    """Items that were on sale at some time of a period; arrays [n], times in days since 1970.

    Args:
        slot, generation: which place in the market, and the how-manieth item there.
        born, gone: on sale in [born, gone).
        true: the attributes that users respond to.
        appeal: positive weight that every user sees alike.
        n_types: product types in this market.
    """

    slot: Ints
    generation: Ints
    born: Floats
    gone: Floats
    true: Attributes
    appeal: Floats
    n_types: int

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.slot)

    def ids(self) -> pl.Series:
        """Return the item ids."""
        return ids_of("P", self.slot, self.generation)

    def take(self, at: Ints | Flags) -> Goods:
        """Return the chosen items."""
        true = Attributes(**{name: getattr(self.true, name)[at] for name in Attributes.__dataclass_fields__})
        return Goods(
            self.slot[at], self.generation[at], self.born[at], self.gone[at], true, self.appeal[at], self.n_types
        )


def ids_of(letter: str, slot: Ints, generation: Ints) -> pl.Series:
    """Return ids such as P00012.42: the slot in five digits or more, the generation in two or more."""
    numbers = pl.DataFrame({"slot": slot, "generation": generation}).select(
        pl.col("slot").cast(pl.String).str.zfill(5), pl.col("generation").cast(pl.String).str.zfill(2)
    )
    return numbers.select(pl.format(letter + "{}.{}", "slot", "generation").alias("id"))["id"]


def phases(n_slots: int, period: float) -> Floats:
    """Return when in the period each slot changes hands, in days: spread evenly (golden-ratio sequence)."""
    return np.asarray((np.arange(n_slots, dtype=np.int64) * _GOLDEN) % 1.0 * period)


def lives(n_slots: int, period: float, start: float, end: float) -> tuple[Ints, Ints, Floats]:
    """Return (slot, generation, born) of everything alive at some time in [start, end) days.

    Births of different slots are spread evenly over time, so volumes are steady.
    """
    slots, phase = np.arange(n_slots, dtype=np.int64), phases(n_slots, period)
    first = np.floor((start - phase) / period).astype(np.int64)
    last = np.ceil((end - phase) / period).astype(np.int64) - 1
    counts = last - first + 1
    slot = np.repeat(slots, counts)
    generation = np.repeat(first, counts) + np.arange(len(slot)) - np.repeat(np.cumsum(counts) - counts, counts)
    return slot, generation, phase[slot] + generation * period


def make_goods(seed: int, n_slots: int, start: float, end: float) -> Goods:
    """Draw every item on sale at some time in [start, end) days."""
    slot, generation, born = lives(n_slots, PERIOD, start, end)
    n_types = int(np.clip(n_slots // 3, 2, N_TYPES))
    true = draw_attributes(seed, "item", slot, generation, slot % n_types)
    appeal = np.exp(0.6 * normals(seed, "item/appeal", slot, generation))
    return Goods(slot, generation, born, born + PERIOD, true, appeal, n_types)


def complements(n_types: int) -> Floats:
    """Return the chance [T, T] that an intent moves from one product type to another; rows sum to 1."""
    moves = np.zeros((n_types, n_types))
    here = np.arange(n_types)
    for step, chance in MOVES:
        moves[here, (here + step) % n_types] += chance
    return moves


def brands_of(department: Ints) -> Ints:
    """Return the brands [n, 8] that sell in each department."""
    offsets = np.arange(N_BRANDS // _BRAND_STRIDE) * _BRAND_STRIDE
    return np.asarray(department[:, None] % _BRAND_STRIDE + offsets[None, :])


def draw_attributes(seed: int, stream: str, slot: Ints, generation: Ints, kind: Ints) -> Attributes:
    """Draw what items of the given types are; `stream` tells draws for different ends apart."""

    def pick(name: str, n: int) -> Ints:
        return choices(seed, f"{stream}/{name}", n, slot, generation)

    n_local = N_BRANDS // _BRAND_STRIDE
    brand = brands_of(kind // TYPES_PER_DEPARTMENT)[np.arange(len(kind)), pick("brand", n_local)]
    series = brand * SERIES_PER_BRAND + pick("series", SERIES_PER_BRAND)
    # A brand has its own price level; the rest is the item's.
    score = 0.7 * (brand % 5 - 2) / np.sqrt(2.0) + 0.7 * normals(seed, f"{stream}/price", slot, generation)
    return Attributes(
        kind, brand, series, pick("material", len(MATERIALS)),
        pick("colour", N_COLOURS), pick("size", N_SIZES), score,
    )  # fmt: skip
