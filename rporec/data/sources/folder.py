"""The folder adapter: parquet or CSV tables, as events or as a given split, on this machine or in an object store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec.config import ColumnNames
from rporec.data.sources.base import RAW_INTERACTIONS, RAW_ITEMS, Bounds, Raw, complete
from rporec.data.sources.columns import EVENT_COLUMNS, GIVEN_COLUMNS, ITEM_COLUMNS
from rporec.data.sources.layout import EVENTS, DataFile, Layout
from rporec.data.sources.tablefile import readable, scan_table
from rporec.errors import InputError


@dataclass(frozen=True)
class FolderSource:
    """Reads the files of a data folder."""

    layout: Layout
    names: ColumnNames

    def read(self, scratch: Path, bounds: Bounds) -> Raw:  # noqa: ARG002 - polars pushes the bounds down itself
        """Open all tables (see `rporec.data.sources.base.Source`)."""
        stated: dict[str, dict[str, object]] = {}
        parts = [self._part(name, file, stated) for name, files in self.layout.tables.items() for file in files]
        items = [self._items(file, stated) for file in self.layout.items]
        interactions = pl.concat(parts)
        timed = not self.layout.given_split or self._given_times(parts)
        return Raw(interactions, pl.concat(items), timed=timed, given=self.layout.given_split, stated=stated)

    def _given_times(self, parts: list[pl.LazyFrame]) -> bool:
        """Whether a given split carries times: all of its parts, or none."""
        files = [file for table in self.layout.tables.values() for file in table]
        with readable(files[0].url):
            timed = [part.select(pl.col("timestamp").is_not_null().any()).collect().item() for part in parts]
        if any(timed) and not all(timed):
            bare = files[timed.index(False)]
            raise InputError(
                "one part of the given split has times and another has none",
                file=bare.url, field=self.names.timestamp, rule="times in every part, or in none",
                cure="add the column to every part, or leave it out",
            )  # fmt: skip
        return all(timed)

    def _part(self, name: str, file: DataFile, stated: dict[str, dict[str, object]]) -> pl.LazyFrame:
        columns = EVENT_COLUMNS if name == EVENTS else GIVEN_COLUMNS
        frame, stated[file.name] = scan_table(file, columns, self.names)
        if name != EVENTS:
            frame = frame.rename({"target": "item_id"}).with_columns(split=pl.lit(name))
        return complete(frame, RAW_INTERACTIONS)

    def _items(self, file: DataFile, stated: dict[str, dict[str, object]]) -> pl.LazyFrame:
        frame, stated[file.name] = scan_table(file, ITEM_COLUMNS, self.names)
        return complete(frame, RAW_ITEMS)
