"""The catalogue in memory: item index to texts and price. An item's index is its row number in items.parquet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

SHORT_TERMS = 6
_TERM = re.compile(r"[^\s,;:()|]+")
_MARKUP = re.compile(r"[<>]")
_STOP = frozenset(
    [
        "the",
        "a",
        "an",
        "and",
        "or",
        "of",
        "for",
        "with",
        "in",
        "on",
        "to",
        "by",
        "from",
        "at",
        "as",
        "is",
        "pack",
        "set",
        "x",
        "-",
        "&",
        "/",
    ]
)


@dataclass(frozen=True)
class Catalogue:
    """Texts and prices of N items, in index order.

    Args:
        item_ids, titles, descriptions, brands, categories: N strings each ("" = unknown).
        prices: [N] float64, NaN = unknown.
        band_edges: inner edges of the price bands (quantiles of the known prices), ascending.
    """

    item_ids: list[str]
    titles: list[str]
    descriptions: list[str]
    brands: list[str]
    categories: list[str]
    prices: np.ndarray
    band_edges: tuple[float, ...]

    @staticmethod
    def from_table(items: pl.DataFrame) -> Catalogue:
        """Build from table ITEMS or CATALOGUE (sorted by item_id)."""
        prices = items["price"].fill_null(float("nan")).to_numpy().astype(np.float64)
        known = prices[~np.isnan(prices)]
        edges = tuple(float(e) for e in np.quantile(known, (0.2, 0.4, 0.6, 0.8))) if known.size else ()
        texts = {name: items[name].to_list() for name in ("item_id", "title", "description", "brand", "category")}
        return Catalogue(
            item_ids=texts["item_id"],
            titles=texts["title"],
            descriptions=texts["description"],
            brands=texts["brand"],
            categories=texts["category"],
            prices=prices,
            band_edges=edges,
        )

    @property
    def n(self) -> int:
        """Number of items, N."""
        return len(self.item_ids)

    @cached_property
    def index(self) -> dict[str, int]:
        """Item id to index."""
        return {item_id: i for i, item_id in enumerate(self.item_ids)}

    def title_terms(self, item: int) -> list[str]:
        """Return up to SHORT_TERMS telling words of a title: no stop word, repeat, brand word, < or >."""
        seen = {word.lower() for word in _TERM.findall(self.brands[item])} | _STOP
        terms: list[str] = []
        for word in _TERM.findall(_MARKUP.sub(" ", self.titles[item])):
            if word.lower() not in seen and len(terms) < SHORT_TERMS:
                seen.add(word.lower())
                terms.append(word)
        return terms

    def brand(self, item: int) -> str:
        """Return the brand as one line without < or > (a title or brand is data, never markup)."""
        return " ".join(_MARKUP.sub(" ", self.brands[item]).split())

    def category(self, item: int) -> str:
        """Return the category as one line without < or >."""
        return " ".join(_MARKUP.sub(" ", self.categories[item]).split())

    def short_text(self, item: int) -> str:
        """Return brand and telling title terms, about 13 tokens: how an item stands in a prompt."""
        return " ".join([self.brand(item), *self.title_terms(item)]).strip()

    def full_text(self, item: int) -> str:
        """Return all that is written about an item, for encoders."""
        parts = (self.titles[item], self.brands[item], self.categories[item], self.descriptions[item])
        return " . ".join(part for part in parts if part)

    def price_band(self, item: int) -> str:
        """Return the price band as a word, "" when the price is unknown."""
        if np.isnan(self.prices[item]) or not self.band_edges:
            return ""
        return ("lowest", "low", "middle", "high", "highest")[int(np.searchsorted(self.band_edges, self.prices[item]))]
