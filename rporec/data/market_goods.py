"""The goods of the simulated market: what an item is, and what is written about it.

An item's slot holds one item after another: each lives PERIOD days and then gives way to a new one, so a few new
items arrive every day for ever. Not about users or choices: those are in `rporec.data.market`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from rporec.data.draws import Floats, Ints, choices, normals, uniforms
from rporec.tables import ITEMS

PERIOD = 480.0  # days an item stays on sale
TYPES_PER_DEPARTMENT = 4
SERIES_PER_BRAND = 3
# A brand sells in every third department, so that loyalty reaches over types but not over the whole market.
_BRAND_STRIDE = 3
_GOLDEN = 0.6180339887498949
_PRICE_SPREAD = 0.45  # standard deviation of log price within a type

DEPARTMENTS = ("kitchen", "coffee", "garden", "workshop", "camping", "desk")
_TYPES = (
    "skillet", "saucepan", "chef knife", "cutting board",
    "coffee grinder", "kettle", "dripper", "mug",
    "pruning shears", "watering can", "planter", "trowel",
    "cordless drill", "clamp", "hand saw", "tool box",
    "tent", "sleeping mat", "camp stove", "headlamp",
    "desk lamp", "notebook", "fountain pen", "monitor stand",
)  # fmt: skip
_BRANDS = (
    "Arden", "Bellwick", "Corvane", "Dunmore", "Elsworth", "Fenn", "Galloway", "Harrow",
    "Iverson", "Jarrow", "Kestrel", "Lindqvist", "Marlow", "Norden", "Ormond", "Penrose",
    "Quill", "Rowan", "Stanhope", "Thorne", "Ulverton", "Vesper", "Wexford", "Yarrow",
)  # fmt: skip
_SERIES = (
    "Alder", "Basalt", "Cinder", "Delta", "Ember", "Fjord", "Grove", "Heron", "Indigo", "Juniper", "Kelp", "Larch",
    "Moor", "Nimbus", "Onyx", "Prairie", "Quarry", "Ridge", "Slate", "Tern", "Umber", "Vale", "Willow", "Zephyr",
)  # fmt: skip
MATERIALS = ("steel", "oak", "ceramic", "canvas")
_COLOURS = ("black", "white", "green", "blue", "red", "grey")
_SIZES = ("small", "medium", "large")


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

    def ids(self) -> list[str]:
        """Return the item ids."""
        pairs = zip(self.slot.tolist(), self.generation.tolist(), strict=True)
        return [f"P{slot:05d}.{generation:02d}" for slot, generation in pairs]


def lives(n_slots: int, period: float, start: float, end: float) -> tuple[Ints, Ints, Floats]:
    """Return (slot, generation, born) of everything alive at some time in [start, end) days.

    Births of different slots are spread evenly over time (golden-ratio sequence), so volumes are steady.
    """
    slots = np.arange(n_slots, dtype=np.int64)
    phase = (slots * _GOLDEN) % 1.0 * period
    first = np.floor((start - phase) / period).astype(np.int64)
    last = np.ceil((end - phase) / period).astype(np.int64) - 1
    counts = last - first + 1
    slot = np.repeat(slots, counts)
    generation = np.repeat(first, counts) + np.arange(len(slot)) - np.repeat(np.cumsum(counts) - counts, counts)
    return slot, generation, phase[slot] + generation * period


def make_goods(seed: int, n_slots: int, start: float, end: float) -> Goods:
    """Draw every item on sale at some time in [start, end) days."""
    slot, generation, born = lives(n_slots, PERIOD, start, end)
    n_types = int(np.clip(n_slots // 3, 2, len(_TYPES)))
    true = _attributes(seed, "item", slot, generation, slot % n_types)
    appeal = np.exp(0.6 * normals(seed, "item/appeal", slot, generation))
    return Goods(slot, generation, born, born + PERIOD, true, appeal, n_types)


def write_items(goods: Goods, seed: int, text_signal: float) -> pl.DataFrame:
    """Return the ITEMS table (sorted by item_id).

    Args:
        goods: N items.
        seed: root of all randomness.
        text_signal: share of items whose text and price are their own; the others carry those of an unrelated item.
    """
    stranger_type = choices(seed, "stranger/type", goods.n_types, goods.slot, goods.generation)
    stranger = _attributes(seed, "stranger", goods.slot, goods.generation, stranger_type)
    own = uniforms(seed, "item/own_text", goods.slot, goods.generation) < text_signal
    shown = Attributes(**{name: np.where(own, getattr(goods.true, name), getattr(stranger, name)) for name in _FIELDS})
    rows = [_describe(shown, i, goods.n_types) for i in range(goods.n)]
    frame = pl.DataFrame({"item_id": goods.ids(), **{k: [row[k] for row in rows] for k in _TEXTS}})
    price = np.exp(_mean_log_price(shown.type) + _PRICE_SPREAD * shown.price_score)
    return frame.with_columns(price=pl.Series(np.round(price, 2))).select(list(ITEMS.columns)).sort("item_id")


def complements(n_types: int) -> Floats:
    """Return the chance [T, T] that an intent moves from one product type to another; rows sum to 1."""
    moves = np.zeros((n_types, n_types))
    here = np.arange(n_types)
    for step, chance in ((1, 0.55), (TYPES_PER_DEPARTMENT, 0.30), (2, 0.15)):
        moves[here, (here + step) % n_types] += chance
    return moves


def brands_of(department: Ints) -> Ints:
    """Return the brands [n, 8] that sell in each department."""
    offsets = np.arange(len(_BRANDS) // _BRAND_STRIDE) * _BRAND_STRIDE
    return np.asarray(department[:, None] % _BRAND_STRIDE + offsets[None, :])


_FIELDS = tuple(Attributes.__dataclass_fields__)
_TEXTS = ("title", "description", "brand", "category")


def _attributes(seed: int, stream: str, slot: Ints, generation: Ints, kind: Ints) -> Attributes:
    def pick(name: str, n: int) -> Ints:
        return choices(seed, f"{stream}/{name}", n, slot, generation)

    n_local = len(_BRANDS) // _BRAND_STRIDE
    brand = brands_of(kind // TYPES_PER_DEPARTMENT)[np.arange(len(kind)), pick("brand", n_local)]
    series = brand * SERIES_PER_BRAND + pick("series", SERIES_PER_BRAND)
    # A brand has its own price level; the rest is the item's.
    score = 0.7 * (brand % 5 - 2) / np.sqrt(2.0) + 0.7 * normals(seed, f"{stream}/price", slot, generation)
    return Attributes(
        kind, brand, series, pick("material", len(MATERIALS)),
        pick("colour", len(_COLOURS)), pick("size", len(_SIZES)), score,
    )  # fmt: skip


def _mean_log_price(kind: Ints) -> Floats:
    return np.asarray(2.5 + 0.15 * ((kind * 7) % 13))


def _describe(shown: Attributes, i: int, n_types: int) -> dict[str, str]:
    kind = int(shown.type[i])
    name, brand = _TYPES[kind], _BRANDS[shown.brand[i]]
    series = _SERIES[shown.series[i] % len(_SERIES)]
    material, colour, size = MATERIALS[shown.material[i]], _COLOURS[shown.colour[i]], _SIZES[shown.size[i]]
    partner = _TYPES[int(np.argmax(complements(n_types)[kind]))]
    return {
        "title": f"{brand} {series} {material} {name} {size} {colour}",
        "description": (
            f"A {size} {colour} {name} of {material} from the {series} series by {brand}, for the "
            f"{DEPARTMENTS[kind // TYPES_PER_DEPARTMENT]}. Often followed by a {partner}."
        ),
        "brand": brand,
        "category": name,
    }
