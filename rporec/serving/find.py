"""Finding items by what people write: an id or a title for a history, words for a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rporec.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Resolved:
    """A history as the model reads it.

    Args:
        known: item indices, oldest first.
        unknown: entries that are neither an id nor a title, each once, in order.
    """

    known: list[int]
    unknown: tuple[str, ...]


class Finder:
    """Looks items up.

    Args:
        catalogue: N items.
        popularity: [N] purchases; of items with one title the most bought is meant.
    """

    def __init__(self, catalogue: Catalogue, popularity: npt.NDArray[np.float64]) -> None:
        self._catalogue, self._popularity = catalogue, popularity
        self._titles: dict[str, int] = {}
        for item, title in enumerate(catalogue.titles):
            name = _folded(title)
            there = self._titles.get(name)
            if name and (there is None or popularity[item] > popularity[there]):
                self._titles[name] = item
        self._texts = [
            _folded(f"{title} {brand} {category} {item_id}")
            for title, brand, category, item_id in zip(
                catalogue.titles, catalogue.brands, catalogue.categories, catalogue.item_ids, strict=True
            )
        ]

    def history(self, entries: Sequence[str]) -> Resolved:
        """Return the items meant by ids or titles; case and space of a title do not count."""
        index, known, unknown = self._catalogue.index, [], []
        for entry in entries:
            item = index.get(entry)
            if item is None:
                item = self._titles.get(_folded(entry))
            if item is None:
                unknown.append(entry)
            else:
                known.append(item)
        return Resolved(known, tuple(dict.fromkeys(unknown)))

    def search(self, words: str, most: int) -> list[int]:
        """Return the items whose title, brand, category or id holds every word, the most bought first."""
        wanted = _folded(words).split()
        found = [item for item, text in enumerate(self._texts) if all(word in text for word in wanted)]
        return sorted(found, key=lambda item: (-self._popularity[item], item))[:most]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
