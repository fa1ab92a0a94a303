"""Rows of a given split, honoured as they stand: no history is rebuilt and no row changes its part."""

from __future__ import annotations

import numpy as np
import polars as pl

from rporec.config import SequenceParams
from rporec.data.sources.layout import SPLITS
from rporec.data.timeline import Rows, coded, core_mask, gather_lists

_SEPARATOR = "\x1f"  # only orders groups of one place


def given_rows(interactions: pl.DataFrame, items: pl.DataFrame, params: SequenceParams) -> Rows:
    """Return the rows in their order; rows of one user, history and time are one group, placed at its first row.

    Args:
        interactions: table INTERACTIONS with split and history.
        items: table ITEMS.
        params: section `sequence`.
    """
    kept = interactions
    if not params.repeats:
        kept = kept.filter(~pl.col("history").list.contains(pl.col("item_id")))
    repeats = interactions.height - kept.height
    kept = _core(kept, items, params.core)
    outside_core = interactions.height - repeats - kept.height
    kept = kept.with_columns(key=pl.col("history").list.join(_SEPARATOR))
    kept = kept.with_columns(first=pl.col("order").min().over("split", "user_id", "history", "timestamp"))
    kept = kept.sort("first", "key", "order", "item_id")
    index = pl.Enum(items["item_id"])
    newest = kept["history"].list.tail(params.history_length)
    flat = newest.explode().cast(index)
    length = newest.list.len().to_numpy().astype(np.int64)
    rows = kept.select(
        "user_id", "timestamp", "split",
        group=pl.struct("first", "key").rank("dense").cast(pl.Int64) - 1,
        target=pl.col("item_id").cast(index).to_physical().cast(pl.Int32),
        history=gather_lists(flat.to_physical().cast(pl.Int32).to_numpy(), np.cumsum(length) - length, length),
    ).sort(pl.col("split").cast(pl.Enum(SPLITS)), maintain_order=True)  # fmt: skip
    rows = rows.with_row_index("row_id").with_columns(pl.col("row_id").cast(pl.Int64))
    return Rows({name: rows.filter(pl.col("split") == name) for name in SPLITS}, 0, repeats, outside_core)


def _core(interactions: pl.DataFrame, items: pl.DataFrame, k: int) -> pl.DataFrame:
    users = interactions["user_id"].unique().sort()
    user, item = coded(interactions, users, items)
    in_train = (interactions["split"] == "train").to_numpy()
    return interactions.filter(pl.Series(core_mask(user, item, in_train, k)))
