"""The folder adapter: parquet or CSV tables, as events or as a given split.

Columns are found by name, extra ones ignored. A file that is broken as a whole is refused here; single bad values
become null with a note, and `rporec.data.clean` quarantines their rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec.data.sources import EVENTS, Layout, Raw
from rporec.errors import InputError
from rporec.tables import ORACLE, empty

_ID_TYPES = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class FolderSource:
    """Reads the files of a data folder."""

    layout: Layout

    def read(self) -> Raw:
        """Read all tables (see `rporec.data.sources.Source`)."""
        frames = [self._interactions(name, path) for name, path in self.layout.tables.items()]
        known = [frame["timestamp"].null_count() < frame.height for frame in frames]
        return Raw(
            pl.concat(frames),
            _read(self.layout.items, _ITEM_COLUMNS),
            empty(ORACLE),
            timed=all(known) or not self.layout.given_split,
        )

    def _interactions(self, name: str, path: Path) -> pl.DataFrame:
        frame = _read(path, _EVENT_COLUMNS if name == EVENTS else _GIVEN_COLUMNS)
        if name == EVENTS:
            history = pl.lit(None, dtype=pl.List(pl.String))
            return frame.with_columns(split=pl.lit(None, dtype=pl.String), history=history).select(_RAW_ORDER)
        return frame.rename({"target": "item_id"}).with_columns(split=pl.lit(name)).select(_RAW_ORDER)


@dataclass(frozen=True)
class _Column:
    """A wanted column: its names in the file (first found wins), how it is converted, whether it may be absent.

    `convert(values, csv)` returns None for a type that it does not take; in a CSV file every value is text.
    """

    names: tuple[str, ...]
    convert: Callable[[pl.Series, bool], pl.Series | None]
    kind: str
    absent: pl.DataType | None = None  # type of the null column that stands in; None = the column is required


def _read(path: Path, wanted: dict[str, _Column]) -> pl.DataFrame:
    """Read the wanted columns of one file, with file, row and note."""
    csv = path.suffix == ".csv"
    frame, chosen = _load(path, wanted, csv=csv)
    out: list[pl.Series] = []
    note = pl.Series("note", [None] * frame.height, dtype=pl.String)
    for name, source in chosen.items():
        column = wanted[name]
        if source is None:
            out.append(pl.Series(name, [None] * frame.height, dtype=column.absent))
            continue
        out.append(_converted(path, frame[source], column, csv=csv).alias(name))
        lost = out[-1].is_null() & frame[source].is_not_null()
        if lost.any():
            words = pl.Series([f"{source} {value!r}"[:200] for value in frame[source].filter(lost).to_list()])
            note = note.scatter(lost.arg_true(), words)
    row = pl.int_range(frame.height, dtype=pl.Int64)
    return pl.DataFrame(out).with_columns(note, file=pl.lit(path.name), row=row)


def _load(path: Path, wanted: dict[str, _Column], *, csv: bool) -> tuple[pl.DataFrame, dict[str, str | None]]:
    """Return the wanted columns as they stand in the file, and which of them stands for which name."""
    try:
        scan = pl.scan_csv(path, infer_schema=False, glob=False) if csv else pl.scan_parquet(path, glob=False)
        schema = scan.collect_schema()
        chosen = {name: next((n for n in column.names if n in schema), None) for name, column in wanted.items()}
        _require(path, wanted, chosen, list(schema))
        columns = sorted({source for source in chosen.values() if source is not None})
        return scan.select(columns).collect(), chosen
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the data file cannot be read: {first_line}",
            file=path, rule="a whole parquet file, or CSV (comma, UTF-8, header line)",
            cure="it may be cut off or corrupt: copy or write it again",
        ) from error  # fmt: skip


def _require(path: Path, wanted: dict[str, _Column], chosen: dict[str, str | None], present: list[str]) -> None:
    for name, column in wanted.items():
        if chosen[name] is None and column.absent is None:
            raise InputError(
                "a data file lacks a column",
                file=path, field=" or ".join(column.names), value=present, rule=f"a column of {column.kind}",
                cure="add the column, or rename the one that holds it",
            )  # fmt: skip


def _converted(path: Path, values: pl.Series, column: _Column, *, csv: bool) -> pl.Series:
    converted = column.convert(values, csv)
    if converted is None:
        raise InputError(
            "a column of a data file has the wrong type",
            file=path, field=values.name, value=str(values.dtype), rule=f"a column of {column.kind}",
            cure="convert the column",
        )  # fmt: skip
    return converted


def _ids(values: pl.Series, _: bool) -> pl.Series | None:
    known = values.dtype in _ID_TYPES or values.dtype.is_integer() or values.dtype == pl.Null
    return values.cast(pl.String) if known else None


def _texts(values: pl.Series, _: bool) -> pl.Series | None:
    if isinstance(values.dtype, pl.List) and values.dtype.inner == pl.String:
        return values.list.join(" > ", ignore_nulls=True)
    return values.cast(pl.String) if values.dtype in _ID_TYPES or values.dtype == pl.Null else None


def _seconds(values: pl.Series, csv: bool) -> pl.Series | None:
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        return values.dt.epoch("s").cast(pl.Int64)
    if values.dtype.is_integer() or values.dtype == pl.Null:
        return values.cast(pl.Int64, strict=False)
    if csv:
        # By way of a float, because spreadsheets write 1291733820.0; exact to 2^53.
        return values.str.strip_chars().cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    return None


def _numbers(values: pl.Series, csv: bool) -> pl.Series | None:
    if csv:
        return values.str.strip_chars().cast(pl.Float64, strict=False)
    if values.dtype == pl.Float32:
        return values.cast(pl.Float64).round(4)  # 0.85 stays 0.85
    return values.cast(pl.Float64) if values.dtype.is_numeric() or values.dtype == pl.Null else None


def _lists(values: pl.Series, csv: bool) -> pl.Series | None:
    if isinstance(values.dtype, pl.List):
        inner = values.dtype.inner
        known = inner == pl.String or inner == pl.Null or inner.is_integer()
        return values.cast(pl.List(pl.String)) if known else None
    if csv or values.dtype == pl.Null:
        return pl.Series(values.name, [_list(text) for text in values.to_list()], dtype=pl.List(pl.String))
    return None


def _list(text: str | None) -> list[str] | None:
    """Read a list written as text: JSON, the same with single quotes, or ids parted by |."""
    if text is None:
        return None
    if not text.startswith("["):
        return text.split("|")
    for attempt in (text, text.replace("'", '"')):
        try:
            return [str(value) for value in json.loads(attempt)]
        except json.JSONDecodeError:
            continue
    return None


_RAW_ORDER = ["user_id", "item_id", "timestamp", "split", "history", "file", "row", "note"]
_ID_KIND = "ids (text or whole numbers)"
_TIME = _Column(("timestamp",), _seconds, "seconds since 1970, UTC (whole numbers), or date-times")
_EVENT_COLUMNS = {
    "user_id": _Column(("user_id",), _ids, _ID_KIND),
    "item_id": _Column(("item_id",), _ids, _ID_KIND),
    "timestamp": _TIME,
}
_GIVEN_COLUMNS = {
    "user_id": _Column(("user_id",), _ids, _ID_KIND),
    "target": _Column(("target",), _ids, _ID_KIND),
    "history": _Column(("history",), _lists, "lists of item ids, oldest first"),
    "timestamp": _Column(("timestamp",), _seconds, _TIME.kind, pl.Int64()),
}
_TEXT_KIND = "text"
_ITEM_COLUMNS = {
    "item_id": _Column(("item_id",), _ids, _ID_KIND),
    "title": _Column(("title",), _texts, _TEXT_KIND),
    "description": _Column(("description",), _texts, _TEXT_KIND, pl.String()),
    "brand": _Column(("brand",), _texts, _TEXT_KIND, pl.String()),
    "category": _Column(("category", "categories"), _texts, _TEXT_KIND, pl.String()),
    "price": _Column(("price",), _numbers, "numbers", pl.Float64()),
}
