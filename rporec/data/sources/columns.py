"""From a table with the user's names and types to the raw columns: each found by name, converted, its losses noted.

Used for files and for databases alike. A missing column or a wrong type is refused; single bad values become null.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from rporec.config import ColumnNames
from rporec.data.sources import times
from rporec.data.sources.base import NOTE_LENGTH
from rporec.errors import InputError

_ID_TYPES = (pl.String, pl.Categorical, pl.Enum)
_TIME_KIND = "whole seconds, ms, us or ns since 1970 UTC, date-times, or ISO 8601 text"
Convert = Callable[[pl.Expr, pl.DataType, "Dialect"], pl.Expr | None]


@dataclass(frozen=True)
class Dialect:
    """How a file writes its values.

    Args:
        as_text: every value is text (CSV).
        decimal_comma: 3,50 is three and a half.
    """

    as_text: bool = False
    decimal_comma: bool = False


@dataclass(frozen=True)
class Wanted:
    """A wanted column: how it is converted (None = as a time), its kind in words, the type of an absent one's nulls."""

    convert: Convert | None
    kind: str
    absent: pl.DataType | None = None  # None = the column is required


def convert(
    frame: pl.LazyFrame, wanted: dict[str, Wanted], names: ColumnNames, dialect: Dialect, file: str
) -> tuple[pl.LazyFrame, dict[str, object]]:
    """Return the frame with each wanted column converted, `note`, and all columns whose names start with `__` kept.

    Args:
        frame: the table as it stands.
        wanted: raw column → how.
        names: the user's names of the raw columns.
        dialect: how values are written.
        file: named in errors.

    Returns:
        The frame, and what was found out: absent columns, units of time.

    Raises:
        InputError: a required column is absent, or a column's type or times cannot be read.
    """
    schema = frame.collect_schema()
    stated: dict[str, object] = {}
    values: list[pl.Expr] = []
    notes: list[pl.Expr] = []
    absent = []
    for raw, how in wanted.items():
        name = getattr(names, raw)
        if name not in schema:
            require(file, raw, name, how, list(schema))
            absent.append(raw)
            values.append(pl.lit(None, dtype=how.absent).alias(raw))
            continue
        value, said = _converted(frame, name, how, dialect, file)
        stated |= {raw: said} if said else {}
        values.append(value.alias(raw))
        if _may_lose(schema[name], how):
            notes.append(_note(raw, name, pl.col(name), value))
    if absent:
        stated["absent"] = absent
    note = pl.concat_str(notes, separator="; ", ignore_nulls=True) if notes else pl.lit("")
    note = pl.when(note != "").then(note).alias("note")
    return frame.select(*values, note, pl.selectors.starts_with("__")), stated


def require(file: str, raw: str, name: str, how: Wanted, present: list[str]) -> None:
    """Refuse that a column is absent, unless it may be.

    Args:
        file: the file or query, named in errors.
        raw: the raw column.
        name: the user's name of it.
        how: what is wanted of it.
        present: the columns that are there.

    Raises:
        InputError: it is required, or was named by the user.
    """
    if how.absent is None or name != raw:  # whoever gives a name of their own means a column that is there
        raise InputError(
            "a data file lacks a column",
            file=file, field=name, value=[column for column in present if not column.startswith("__")],
            rule=f"a column of {how.kind} (ingest.columns.{raw})",
            cure=f"add the column, or set ingest.columns.{raw} to the one that holds it",
        )  # fmt: skip


def _converted(frame: pl.LazyFrame, name: str, how: Wanted, dialect: Dialect, file: str) -> tuple[pl.Expr, str | None]:
    kind = frame.collect_schema()[name]
    try:
        if how.convert is None:
            reading = times.read_times(frame, name)
            value, said = (reading.seconds, reading.stated) if reading else (None, None)
        else:
            value, said = how.convert(pl.col(name), kind, dialect), None
    except times.MixedTimesError as error:
        raise InputError(
            f"a column of times cannot be read: {error}",
            file=file, field=name, rule=_TIME_KIND + ", one kind a column", cure="convert the column to one of them",
        ) from None  # fmt: skip
    if value is None:
        raise InputError(
            "a column of a data file has the wrong type",
            file=file, field=name, value=str(kind), rule=f"a column of {how.kind}", cure="convert the column",
        )  # fmt: skip
    return value, said


def _may_lose(kind: pl.DataType, how: Wanted) -> bool:
    """Whether a conversion can make a null of a value: of text that is not taken as it is, and of times."""
    return how.convert is None or (kind == pl.String and how.convert in (_numbers, _lists))


def _note(raw: str, name: str, before: pl.Expr, after: pl.Expr) -> pl.Expr:
    label = raw if raw == name else f"{raw} (column {name})"
    shown = pl.format("{} '{}'", pl.lit(label), before.cast(pl.String).str.slice(0, NOTE_LENGTH))
    return pl.when(after.is_null() & before.is_not_null()).then(shown)


def _ids(column: pl.Expr, kind: pl.DataType, _: Dialect) -> pl.Expr | None:
    if isinstance(kind, pl.Decimal):  # 7.00 is the id 7
        return column.cast(pl.Int128, strict=False).cast(pl.String)
    known = kind in _ID_TYPES or kind.is_integer() or kind == pl.Null
    return column.cast(pl.String) if known else None


def _texts(column: pl.Expr, kind: pl.DataType, _: Dialect) -> pl.Expr | None:
    if isinstance(kind, pl.List) and kind.inner == pl.String:
        return column.list.join(" > ", ignore_nulls=True)
    return column.cast(pl.String) if kind in _ID_TYPES or kind == pl.Null else None


def _numbers(column: pl.Expr, kind: pl.DataType, dialect: Dialect) -> pl.Expr | None:
    if dialect.as_text:
        text = column.str.strip_chars()
        text = text.str.replace(",", ".", literal=True) if dialect.decimal_comma else text
        return text.cast(pl.Float64, strict=False)
    if kind == pl.Float32:
        return column.cast(pl.Float64).round(4)  # 0.85 stays 0.85
    return column.cast(pl.Float64) if kind.is_numeric() or kind == pl.Null else None


def _lists(column: pl.Expr, kind: pl.DataType, dialect: Dialect) -> pl.Expr | None:
    if isinstance(kind, pl.List | pl.Array):
        inner = kind.inner
        known = inner in _ID_TYPES or inner == pl.Null or (isinstance(inner, pl.DataType) and inner.is_integer())
        return column.cast(pl.List(inner)).cast(pl.List(pl.String)) if known else None
    if dialect.as_text or kind in (pl.Null, pl.String):
        return column.cast(pl.String).map_batches(
            lambda texts: pl.Series(texts.name, [read_list(text) for text in texts], dtype=pl.List(pl.String)),
            return_dtype=pl.List(pl.String),
        )
    return None


def read_list(text: str | None) -> list[str] | None:
    """Return a list written as text (JSON, the same with single quotes, or ids parted by |), or None."""
    if text is None:
        return None
    if not text.startswith("["):
        return text.split("|")
    for attempt in (text, text.replace("'", '"')):
        try:
            found = json.loads(attempt)
        except (json.JSONDecodeError, RecursionError):
            continue
        return [str(value) for value in found] if isinstance(found, list) else None
    return None


_ID = Wanted(_ids, "ids (text or whole numbers)")
_TEXT = Wanted(_texts, "text", pl.String())
_TIME = Wanted(None, _TIME_KIND)
_LATER = Wanted(None, _TIME_KIND, pl.Int64())
_NUMBER = Wanted(_numbers, "numbers", pl.Float64())
EVENT_COLUMNS = {"user_id": _ID, "item_id": _ID, "timestamp": _TIME, "rating": _NUMBER}
GIVEN_COLUMNS = {
    "user_id": _ID, "target": _ID, "history": Wanted(_lists, "lists of item ids, oldest first"), "timestamp": _LATER,
    "rating": _NUMBER,
}  # fmt: skip
ITEM_COLUMNS = {
    "item_id": _ID, "title": Wanted(_texts, "text"), "description": _TEXT, "brand": _TEXT, "category": _TEXT,
    "price": _NUMBER, "known_from": _LATER,
}  # fmt: skip
