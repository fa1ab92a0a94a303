"""Rows that no compared package has trained on: tonight's test rows, and those of earlier nights where they qualify.

The rows of each judged night are kept by ids, so that a later comparison can use them; what a package was fitted up to
is told by `unseen_from` in its lineage. Ranking the rows is rescore.py, counting looks at them ledger.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec import tables

_KEY = ["user_id", "timestamp", "item"]
# A row by ids, as it outlives the night's own numbering of items.
KEPT = tables.Table(
    "kept rows",
    {"user_id": pl.String(), "timestamp": pl.Int64(), "item": pl.String(), "history": pl.List(pl.String())},
)


def first_unseen(lineages: list[Mapping[str, str]]) -> int | None:
    """Return the first second that none of the packages has trained on; None where one of them has no time line."""
    told = [lineage.get("unseen_from", "") for lineage in lineages]
    return max(map(int, told)) if all(told) else None


def keep(folder: Path, name: str, rows: pl.DataFrame, item_ids: list[str]) -> None:
    """Keep a night's test rows (ROWS) by ids under `name`, once."""
    path = folder / f"{name}.parquet"
    if not path.exists():
        ids = pl.Series(item_ids, dtype=pl.String)
        kept = pl.DataFrame(
            {
                "user_id": rows["user_id"], "timestamp": rows["timestamp"], "item": ids.gather(rows["target"]),
                "history": [[item_ids[item] for item in history] for history in rows["history"]],
            },
            schema=KEPT.columns,
        )  # fmt: skip
        tables.write(kept, path, KEPT)


def fit_for(rows: pl.DataFrame, since: int | None) -> npt.NDArray[np.bool_]:
    """Return which rows [n] lie at or after `since`; all of them where there is no time line."""
    if since is None:
        return np.ones(rows.height, dtype=bool)
    return np.asarray(rows["timestamp"].to_numpy() >= since)


def earlier(folder: Path, rows: pl.DataFrame, item_ids: list[str], since: int | None) -> pl.DataFrame:
    """Return kept rows of other nights at or after `since` that tonight's lack, as ROWS in tonight's numbering.

    Rows whose item is not in tonight's catalogue are left out, as are such items of a history. Their groups and row ids
    follow tonight's.

    Args:
        folder: where the rows are kept.
        rows: tonight's test rows (ROWS).
        item_ids: tonight's catalogue, N ids in index order.
        since: first second that no compared package has trained on; None gives no rows.
    """
    files = sorted(folder.glob("*.parquet"))
    if since is None or not files:
        return tables.empty(tables.ROWS)
    index = {item_id: place for place, item_id in enumerate(item_ids)}
    ids = pl.Series(item_ids, dtype=pl.String)
    tonight = rows.select("user_id", "timestamp", item=ids.gather(rows["target"]))
    kept = pl.concat([tables.read(path, KEPT).filter(pl.col("timestamp") >= since) for path in files])
    new = kept.filter(pl.col("item").is_in(item_ids)).unique(_KEY, keep="first", maintain_order=True)
    new = new.join(tonight, on=_KEY, how="anti", maintain_order="left")
    count = np.arange(new.height)
    return pl.DataFrame(
        {
            "row_id": count + 1 + _most(rows["row_id"]), "group": count + 1 + _most(rows["group"]),
            "user_id": new["user_id"], "timestamp": new["timestamp"],
            "history": [[index[item] for item in history if item in index] for history in new["history"]],
            "target": [index[item] for item in new["item"]], "slice": ["test"] * new.height,
        },
        schema=tables.ROWS.columns,
    )  # fmt: skip


def _most(numbers: pl.Series) -> int:
    return int(numbers.max() or 0) if len(numbers) else 0  # type: ignore[arg-type]
