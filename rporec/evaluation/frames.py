"""Tables around an evaluation: the ranks table and the oracle's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.evaluation.metrics import Ranks
from rporec.evaluation.results import RANKERS
from rporec.tables import ranks_table


def ranks_frame(labels: pl.DataFrame, ranks: Mapping[str, Ranks]) -> pl.DataFrame:
    """Return the RANKS table: the labels of n rows and every ranker's `_above` and `_ties`."""
    columns = {
        f"{ranker}_{part}": pl.Series(values, dtype=pl.Int32)
        for ranker in RANKERS
        for part, values in (("above", ranks[ranker].above), ("ties", ranks[ranker].ties))
    }
    return labels.with_columns(**columns).select(list(ranks_table(list(RANKERS)).columns))


def oracle_rows(rows: pl.DataFrame, item_ids: Sequence[str], oracle: pl.DataFrame) -> npt.NDArray[np.float64] | None:
    """Return the best expected NDCG@10 at the rows' events that the oracle knows, None where it knows none.

    Args:
        rows: the test rows (ROWS).
        item_ids: N ids in index order.
        oracle: the ORACLE table.
    """
    ids = pl.Series([item_ids[item] for item in rows["target"]], dtype=pl.String)
    keys = ["user_id", "item_id", "timestamp"]
    known = oracle.unique(keys, keep="first", maintain_order=True)
    events = rows.select("user_id", "timestamp", item_id=ids)
    found = events.join(known, on=keys, how="inner", maintain_order="left", nulls_equal=True)["ndcg"]
    return found.to_numpy() if len(found) else None
