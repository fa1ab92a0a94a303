"""The catalogue in memory: item index to texts and price. An item's index is its row number in items.parquet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

SHORT_TERMS = 6
_APART = 3  # of these, at most, are given to words that tell items of one name apart
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
        """Return up to SHORT_TERMS telling words of a title, in its order: no stop word, repeat, brand word, < or >.

        The first ones; where items of one brand and category share those, the last of them give way to later words
        that only some of these items have (a size, a colour).
        """
        return self._terms[item]

    @cached_property
    def _terms(self) -> list[list[str]]:
        words = [_telling(title, brand) for title, brand in zip(self.titles, self.brands, strict=True)]
        namesakes: dict[tuple[str, ...], list[int]] = {}
        for item, terms in enumerate(words):
            head = (self.brands[item], self.categories[item], *terms[:SHORT_TERMS])
            namesakes.setdefault(head, []).append(item)
        chosen = [terms[:SHORT_TERMS] for terms in words]
        for alike in namesakes.values():
            if len(alike) > 1:
                for item, terms in zip(alike, _apart([words[item] for item in alike]), strict=True):
                    chosen[item] = terms
        return chosen

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


def _telling(title: str, brand: str) -> list[str]:
    seen = {word.lower() for word in _TERM.findall(brand)} | _STOP
    terms: list[str] = []
    for word in _TERM.findall(_MARKUP.sub(" ", title)):
        if word.lower() not in seen:
            seen.add(word.lower())
            terms.append(word)
    return terms


def _apart(titles: Sequence[list[str]]) -> list[list[str]]:
    """Return SHORT_TERMS words a title: up to _APART that the fewest of these titles have, then the first ones."""
    holders = Counter(word.lower() for terms in titles for word in terms)
    chosen = []
    for terms in titles:
        later = [
            (holders[word.lower()], at)
            for at, word in enumerate(terms)
            if at >= SHORT_TERMS and holders[word.lower()] < len(titles)
        ]
        rare = [at for _, at in sorted(later)[:_APART]]
        places = sorted([*range(min(len(terms), SHORT_TERMS) - len(rare)), *rare])
        chosen.append([terms[at] for at in places])
    return chosen
