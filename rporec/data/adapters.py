"""Which adapter reads the source that the parameters name. Adapters only read; cleaning is `rporec.data.clean`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from rporec.config import IngestParams
from rporec.data.folder import FolderSource
from rporec.data.market import MarketSource
from rporec.data.sources import Source, find_layout
from rporec.errors import InputError


def open_source(params: IngestParams, seed: int, as_of: dt.date | None, folder: Path | None) -> Source:
    """Return the adapter that the parameters name.

    Args:
        params: section `ingest`.
        seed: root of randomness of the market.
        as_of: date, exclusive; the market needs one.
        folder: the data folder, for kind `folder`.
    """
    if params.source == "folder":
        return FolderSource(find_layout(folder))
    if as_of is None:
        raise InputError(
            "the market needs a date",
            field="ingest.as_of", rule="a UTC date, YYYY-MM-DD", cure="set ingest.as_of in params.yaml",
        )  # fmt: skip
    return MarketSource(params.market, as_of, seed)
