"""Which items an answer may hold: categories, prices, what the buyer has already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rporec.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Filters:
    """What is wanted.

    Args:
        categories: names as in the catalogue, upper and lower case alike; () = all.
        min_price, max_price: in the catalogue's currency, both included; None = open. With either, an item of unknown
            price is left out.
        exclude_seen: leave items of the history out.
    """

    categories: tuple[str, ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    exclude_seen: bool = False

    @property
    def of_items(self) -> bool:
        """Whether items are left out for what they are, whoever asks."""
        return bool(self.categories) or self.min_price is not None or self.max_price is not None


NO_FILTERS = Filters()


def allowed(catalogue: Catalogue, filters: Filters, history: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return [N] which items pass, for a history of item indices."""
    passes = np.ones(catalogue.n, dtype=np.bool_)
    if filters.categories:
        passes &= _in_categories(catalogue, {name.casefold() for name in filters.categories})
    if filters.min_price is not None:
        passes &= catalogue.prices >= filters.min_price  # NaN is never above or below
    if filters.max_price is not None:
        passes &= catalogue.prices <= filters.max_price
    if filters.exclude_seen:
        passes[list(history)] = False
    return passes


def _in_categories(catalogue: Catalogue, wanted: Collection[str]) -> npt.NDArray[np.bool_]:
    found = (name.casefold() in wanted for name in catalogue.categories)
    return np.fromiter(found, dtype=np.bool_, count=catalogue.n)
