"""Profile of a night's tables and the drift between two profiles. Drift warns, it never stops a run.

A profile is small (counts over fixed or own bins, no ids), so that last night's can be kept and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

_LEAST_SHARE = 1e-4  # an empty bin would make the index infinite
_TAIL_RANKS = (0.01, 0.05, 0.1, 0.2, 0.5)  # share of items, most popular first
_BINS = 10
Profile = dict[str, dict[str, list[float]]]
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How far one feature moved: `psi` is 0 for no change, above about 0.2 for a marked one."""

    feature: str
    psi: float
    warned: bool


def profile(interactions: pl.DataFrame, items: pl.DataFrame, edges: Profile | None = None) -> Profile:
    """Return feature → {edges, shares}: the distribution of each feature over bins, shares summing to 1.

    Args:
        interactions: table INTERACTIONS, at least one row.
        items: table ITEMS.
        edges: a profile whose bins are used again; None = own deciles.
    """
    found: Profile = {"item_popularity": {"edges": list(_TAIL_RANKS), "shares": _concentration(interactions)}}
    for name, values in _features(interactions, items).items():
        if not len(values) or (edges is not None and name not in edges):
            continue
        own = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        inner = own if edges is None else np.asarray(edges[name]["edges"])
        counts = np.bincount(np.searchsorted(inner, values, side="left"), minlength=len(inner) + 1)
        shares = counts / counts.sum()
        found[name] = {"edges": [float(edge) for edge in inner], "shares": [round(float(s), 9) for s in shares]}
    return found


def compare(reference: Profile, current: Profile, threshold: float) -> list[Drift]:
    """Compare two profiles over the same bins, by name of feature; above `threshold` it is warned of."""
    found = []
    for feature in sorted(reference.keys() & current.keys()):
        psi = stability_index(reference[feature]["shares"], current[feature]["shares"])
        found.append(Drift(feature, round(psi, 6), psi > threshold))
    return found


def stability_index(reference: list[float], current: list[float]) -> float:
    """Return the population-stability index sum((c - r) ln(c / r)) >= 0 of two distributions over the same bins."""
    before, after = (np.maximum(np.asarray(shares), _LEAST_SHARE) for shares in (reference, current))
    return float(((after - before) * np.log(after / before)).sum())


def halves(interactions: pl.DataFrame, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cut interactions in time order into the older rows and the newest `share` (in (0, 1)) of them."""
    ordered = interactions.sort("order", maintain_order=True)
    older = int(ordered.height * (1 - share))
    return ordered.head(older), ordered.tail(ordered.height - older)


def _features(interactions: pl.DataFrame, items: pl.DataFrame) -> dict[str, _Floats]:
    bought = interactions.select("item_id").join(
        items.select("item_id", "price", title_length=pl.col("title").str.len_chars()), on="item_id"
    )
    values = {
        "price": bought["price"].drop_nulls(),
        "title_length": bought["title_length"],
        "history_length": interactions["history"].list.len().drop_nulls(),
        "basket_size": interactions.group_by("order").len()["len"],
    }
    return {name: column.cast(pl.Float64).to_numpy() for name, column in values.items()}


def _concentration(interactions: pl.DataFrame) -> list[float]:
    """Return the share of interactions that falls to each band of items, from the most popular down."""
    counts = np.sort(interactions.group_by("item_id").len()["len"].to_numpy())[::-1].astype(np.float64)
    cuts = [0, *(int(np.ceil(rank * len(counts))) for rank in _TAIL_RANKS), len(counts)]
    bands = [counts[low:high].sum() for low, high in pairwise(cuts)]
    return [round(float(band / counts.sum()), 9) for band in bands]
