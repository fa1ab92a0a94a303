"""Which adapter reads the source that the parameters name."""

from __future__ import annotations

import datetime as dt

from rporec.config import IngestParams
from rporec.data.sources.base import Source
from rporec.data.sources.layout import find_layout


def open_source(params: IngestParams, seed: int, place: str | None) -> Source:
    """Return the adapter that the parameters name.

    Args:
        params: section `ingest`.
        seed: root of randomness of the market.
        place: what DATA= gave; None for the market.
    """
    if params.source == "folder":
        from rporec.data.sources.folder import FolderSource

        return FolderSource(find_layout(place), params.columns)
    if params.source == "amazon_reviews_2023":
        from rporec.data.sources.amazon import AmazonSource

        return AmazonSource(place)
    if params.source == "movielens":
        from rporec.data.sources.movielens import MovieLensSource

        return MovieLensSource(place)
    if params.source == "minionerec":
        from rporec.data.sources.minionerec import MiniOneRecSource

        return MiniOneRecSource(place, params.minionerec_split)
    if params.source == "sql":
        from rporec.data.sources.sql import SqlSource

        return SqlSource(params, place)
    return _market(params, seed)


def _market(params: IngestParams, seed: int) -> Source:
    from rporec.data.sources.simulated import MarketSource

    assert params.as_of is not None  # the schema holds it
    return MarketSource(params.market, dt.date.fromisoformat(params.as_of), seed)
