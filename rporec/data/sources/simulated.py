"""The simulated market as a source."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec.config import MarketParams
from rporec.data.market import simulate
from rporec.data.sources.base import RAW_INTERACTIONS, RAW_ITEMS, Bounds, Raw, complete


@dataclass(frozen=True)
class MarketSource:
    """The market up to a date.

    Args:
        params: section `ingest.market`.
        as_of: date, exclusive.
        seed: root of all randomness.
    """

    params: MarketParams
    as_of: dt.date
    seed: int

    def read(self, scratch: Path, bounds: Bounds) -> Raw:  # noqa: ARG002 - the market has no files and its own days
        """Simulate (see `rporec.data.sources.base.Source`)."""
        market = simulate(self.params, self.as_of, self.seed)
        interactions, items = (
            frame.lazy().with_row_index("row").with_columns(pl.col("row").cast(pl.Int64), file=pl.lit("market"))
            for frame in (market.interactions, market.items)
        )
        return Raw(
            complete(interactions, RAW_INTERACTIONS), complete(items, RAW_ITEMS),
            timed=True, given=False, oracle=market.oracle, simulated=True,
        )  # fmt: skip
