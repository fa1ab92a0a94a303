"""The words of the simulated market: what is written about an item. What an item is: `rporec.data.market_goods`."""

from __future__ import annotations

import numpy as np
import polars as pl

from rporec.data.draws import Floats, Ints, choices, uniforms
from rporec.data.market_goods import (
    DEPARTMENTS,
    MATERIALS,
    TYPES_PER_DEPARTMENT,
    Attributes,
    Goods,
    complements,
    draw_attributes,
)  # fmt: skip
from rporec.tables import ITEMS

_PRICE_SPREAD = 0.45  # standard deviation of log price within a type

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
_COLOURS = ("black", "white", "green", "blue", "red", "grey")
_SIZES = ("small", "medium", "large")
_WORDS = {"brand": _BRANDS, "category": _TYPES, "series": _SERIES, "material": MATERIALS, "colour": _COLOURS,
          "size": _SIZES}  # fmt: skip


def write_items(goods: Goods, seed: int, text_signal: float) -> pl.DataFrame:
    """Return the ITEMS table (sorted by item_id); since when a row holds is left open.

    Args:
        goods: N items.
        seed: root of all randomness.
        text_signal: share of items whose text and price are their own; the others carry those of an unrelated item.
    """
    shown = _shown(goods, seed, text_signal)
    price = np.exp(_mean_log_price(shown.type) + _PRICE_SPREAD * shown.price_score)
    frame = _texts(shown, goods.n_types).with_columns(item_id=goods.ids(), price=pl.Series(np.round(price, 2)))
    unknown = [pl.lit(None, dtype=kind).alias(name) for name, kind in ITEMS.columns.items() if name not in frame]
    return frame.with_columns(unknown).select(list(ITEMS.columns)).sort("item_id")


def _shown(goods: Goods, seed: int, text_signal: float) -> Attributes:
    """Return what the texts say of each item: its own attributes or a stranger's."""
    stranger_type = choices(seed, "stranger/type", goods.n_types, goods.slot, goods.generation)
    stranger = draw_attributes(seed, "stranger", goods.slot, goods.generation, stranger_type)
    own = uniforms(seed, "item/own_text", goods.slot, goods.generation) < text_signal
    fields = Attributes.__dataclass_fields__
    return Attributes(**{name: np.where(own, getattr(goods.true, name), getattr(stranger, name)) for name in fields})


def _texts(shown: Attributes, n_types: int) -> pl.DataFrame:
    """Return title, description, brand and category of each item."""
    partner = np.argmax(complements(n_types), axis=1)[shown.type]
    at = {
        "brand": shown.brand, "category": shown.type, "series": shown.series % len(_SERIES),
        "material": shown.material, "colour": shown.colour, "size": shown.size,
    }  # fmt: skip
    words = {name: pl.Series(_WORDS[name]).gather(which) for name, which in at.items()}
    words["department"] = pl.Series(DEPARTMENTS).gather(shown.type // TYPES_PER_DEPARTMENT)
    words["partner"] = pl.Series(_TYPES).gather(partner)
    title = pl.format("{} {} {} {} {} {}", "brand", "series", "material", "category", "size", "colour")
    description = pl.format(
        "A {} {} {} of {} from the {} series by {}, for the {}. Often followed by a {}.",
        "size", "colour", "category", "material", "series", "brand", "department", "partner",
    )  # fmt: skip
    return pl.DataFrame(words).select("brand", "category", title=title, description=description)


def _mean_log_price(kind: Ints) -> Floats:
    return np.asarray(2.5 + 0.15 * ((kind * 7) % 13))
