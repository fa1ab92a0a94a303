"""What a database hands over, as Polars columns: times keep their kind, all other values become text.

Text loses nothing (a decimal price keeps its digits) and is converted as the text of a CSV file is. A column's kind is
told from the first values; a value of another kind later, as SQLite allows, is refused.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from rporec.data.sources.columns import EVENT_COLUMNS, ITEM_COLUMNS, Wanted
from rporec.errors import InputError

_NUMBERS = frozenset({int, float, Decimal})
_IDS = frozenset({str, int, Decimal, UUID})
_TEXT = frozenset({str})
_ANY = frozenset({str, bytes, int, float, Decimal})
_TIMES = (_NUMBERS, _TEXT, frozenset({dt.datetime}), frozenset({dt.date}))


@dataclass(frozen=True)
class Kind:
    """How one column of a query is read.

    Args:
        allowed: the Python types of its values.
        dtype: its Polars type; whole numbers, floats, dates and date-times only of times.
        is_number: of times: numbers in the database, which may still come as text here.
    """

    allowed: frozenset[type]
    dtype: pl.DataType
    is_number: bool = False


def kind_of(values: Iterable[Any], wanted: Wanted, *, loose: bool) -> Kind | None:
    """Return the kind of a column with these first values, or None when they do not suit what is wanted.

    Args:
        values: a sample of the column; nulls say nothing.
        wanted: how the column is used.
        loose: any row may hold a value of any kind (SQLite): numbers come as text, so that an odd one is noted.
    """
    known = [value for value in values if value is not None]
    types = {type(value) for value in known}
    if wanted.convert is not None:
        allowed = _allowed(wanted)
        return Kind(allowed, pl.String()) if types <= allowed else None
    allowed = next((group for group in _TIMES if types <= group), frozenset())
    if not allowed:
        return None
    if allowed == _NUMBERS and loose:
        return Kind(_ANY, pl.String(), is_number=True)
    if allowed == _NUMBERS:
        return Kind(allowed, pl.Int64() if types <= {int} else pl.Float64(), is_number=True)
    if allowed == _TEXT:
        return Kind(allowed, pl.String())
    if dt.date in allowed:
        return Kind(allowed, pl.Date())
    zoned = {value.tzinfo is not None for value in known}
    return Kind(allowed, pl.Datetime("us", "UTC" if zoned == {True} else None)) if len(zoned) == 1 else None


def odd_one(values: Iterable[Any]) -> object:
    """Return a value of the rarest type among these."""
    known = [value for value in values if value is not None]
    types = [type(value) for value in known]
    return min(known, key=lambda value: types.count(type(value)), default=None)


def _allowed(wanted: Wanted) -> frozenset[type]:
    if wanted is EVENT_COLUMNS["user_id"]:
        return _IDS
    return _TEXT | _NUMBERS if wanted is ITEM_COLUMNS["price"] else _TEXT


def frame(rows: Sequence[Sequence[Any]], kinds: dict[str, Kind], query: str) -> pl.DataFrame:
    """Return rows as a table.

    Args:
        rows: one tuple a row, in the order of `kinds`.
        kinds: column → kind.
        query: the parameter that holds the query, named in errors.

    Raises:
        InputError: a value of another kind than the column's.
    """
    columns = zip(*rows, strict=True) if rows else [()] * len(kinds)
    return pl.DataFrame(
        [_series(name, kinds[name], values, query) for name, values in zip(kinds, columns, strict=True)]
    )


def _series(name: str, kind: Kind, values: Sequence[Any], query: str) -> pl.Series:
    odd = {type(value) for value in values} - kind.allowed - {type(None)}
    if odd:
        raise InputError(
            "a column of a query holds values of several kinds",
            file=query, field=name, value=next(value for value in values if type(value) in odd),
            rule="one kind a column", cure=f"write CAST({name} AS ...) in the query",
        )  # fmt: skip
    if kind.dtype == pl.String:
        return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)
    if kind.dtype == pl.Int64:
        return pl.Series(name, [None if value is None else _whole(value) for value in values], dtype=pl.Int64)
    if kind.dtype == pl.Float64:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    if getattr(kind.dtype, "time_zone", None):
        values = [None if value is None else value.astimezone(dt.UTC) for value in values]
    return pl.Series(name, values, dtype=kind.dtype)


def _text(value: object) -> str:
    """Ids in a column of decimals are whole numbers: 7.00 is the item 7."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return str(value)


def _whole(value: float | Decimal) -> int | None:
    """What is no 64-bit number is no time."""
    whole = round(value) if math.isfinite(value) else None
    return whole if whole is not None and abs(whole) < 2**63 else None
