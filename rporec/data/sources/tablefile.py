"""One parquet or CSV file, opened lazily: its separator, its damage, its place and row numbers.

A file that is broken as a whole is refused; a CSV row with too many fields or bytes that are no UTF-8 gets a fault.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from rporec.config import ColumnNames
from rporec.data.sources.columns import Dialect, Wanted, convert
from rporec.data.sources.layout import DataFile, is_remote
from rporec.errors import InputError

_SEPARATORS = (",", ";", "\t", "|")
_HEAD = 1 << 16  # bytes within which the header line ends
_EXTRA, _ROW, _FAULT = "__extra", "__row", "__fault"
_UNKNOWN = "\ufffd"  # stands where bytes were no UTF-8
_IDS, _TIMES = ("user_id", "item_id", "target"), ("timestamp", "rating")
_LONGEST_FIELD = 1000  # lines; more is a quote that was never closed


def scan_table(file: DataFile, wanted: dict[str, Wanted], names: ColumnNames) -> tuple[pl.LazyFrame, dict[str, object]]:
    """Open one file lazily.

    Args:
        file: a .parquet or .csv file.
        wanted: raw column → how it is converted.
        names: the user's names of the raw columns.

    Returns:
        The wanted columns with fault, note, file and row; and what was found out about the file.

    Raises:
        InputError: the file is unreadable or lacks a column or its type.
    """
    with readable(file.url):
        if file.name.endswith(".csv"):
            frame, dialect, stated = _scan_csv(file.url, wanted, names)
        else:
            frame, dialect, stated = _scan_parquet(file.url)
        converted, found = convert(frame, wanted, names, dialect, file.url)
    fault = pl.col(_FAULT) if dialect.as_text else pl.lit(None, dtype=pl.String)
    marked = converted.with_columns(fault=fault, file=pl.lit(file.name), row=pl.col(_ROW).cast(pl.Int64))
    return marked.drop(pl.selectors.starts_with("__")), stated | found


@contextmanager
def readable(url: str) -> Iterator[None]:
    """Turn what a reader throws at a broken file into InputError."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the data file cannot be read: {first_line}",
            file=url, rule="a whole parquet file, or CSV (UTF-8, header line)",
            cure="it may be cut off or corrupt: copy or write it again",
        ) from error  # fmt: skip


def _scan_parquet(url: str) -> tuple[pl.LazyFrame, Dialect, dict[str, object]]:
    frame = pl.scan_parquet(url, glob=False, storage_options=_options(url))
    return frame.with_row_index(_ROW), Dialect(), {}


def _scan_csv(
    url: str, wanted: dict[str, Wanted], names: ColumnNames
) -> tuple[pl.LazyFrame, Dialect, dict[str, object]]:
    header, separator, blank = _header(url, {getattr(names, raw) for raw in wanted})
    # One column more than the header has: whatever stands there shows a row with too many fields.
    frame = pl.scan_csv(
        url, separator=separator, schema=dict.fromkeys([*header, _EXTRA], pl.String()), missing_columns="insert",
        truncate_ragged_lines=True, encoding="utf8-lossy", glob=False, storage_options=_options(url), skip_lines=blank,
    )  # fmt: skip
    _refuse_open_quotes(frame, header, url)
    frame = frame.with_columns(_csv_fault(wanted, names, header, separator).alias(_FAULT))
    decimal_comma = separator == ";"
    stated: dict[str, object] = {"separator": separator, **({"decimals": "comma or point"} if decimal_comma else {})}
    return frame.with_row_index(_ROW), Dialect(as_text=True, decimal_comma=decimal_comma), stated


def _csv_fault(wanted: dict[str, Wanted], names: ColumnNames, header: list[str], separator: str) -> pl.Expr:
    """Return a row's fault: too many fields, lines swallowed by a stray quote, an id whose bytes are no UTF-8."""

    def columns(raws: tuple[str, ...]) -> list[pl.Expr]:
        there = [getattr(names, raw) for raw in raws if raw in wanted]
        return [pl.col(name) for name in there if name in header]

    swallowed = [
        column.str.contains("\n", literal=True) & column.str.contains(separator, literal=True)
        for column in columns(_IDS + _TIMES)
    ]
    foreign = [column.str.contains(_UNKNOWN, literal=True) for column in columns(_IDS)]
    return (
        pl.when(pl.col(_EXTRA).is_not_null()).then(pl.lit("too_many_fields"))
        .when(pl.any_horizontal(pl.lit(value=False), *swallowed)).then(pl.lit("broken_quotes"))
        .when(pl.any_horizontal(pl.lit(value=False), *foreign)).then(pl.lit("not_utf8"))
    )  # fmt: skip


def _refuse_open_quotes(frame: pl.LazyFrame, header: list[str], url: str) -> None:
    """Stop when one field holds very many lines: they are rows that a stray quote swallowed."""
    lines = [pl.col(name).str.count_matches("\n", literal=True) for name in header]
    longest = frame.with_row_index(_ROW).select(_ROW, lines=pl.max_horizontal(lines)).top_k(1, by="lines").collect()
    if longest.height and (longest["lines"][0] or 0) > _LONGEST_FIELD:
        row, count = longest.row(0)
        raise InputError(
            "a quote is not closed for very many lines",
            file=url, field=f"row {row}", value=f"{count} lines", rule=f"at most {_LONGEST_FIELD} lines in a field",
            cure="mend the quotes of that row (a quote within a field is written twice)",
        )  # fmt: skip


def _header(url: str, wanted: set[str]) -> tuple[list[str], str, int]:
    """Return the header's names, the separator by which most wanted columns are found in it, and blank lines before."""
    text = _head(url)
    if not text.strip():
        raise InputError("the data file is empty", file=url, rule="a header line", cure="write it again")
    if "\r" in text and "\n" not in text:
        raise InputError("lines end with CR alone", file=url, rule="LF or CR LF", cure="save it with other line ends")
    every = text.split("\n")
    blank = next(number for number, line in enumerate(every) if line.strip())
    line = every[blank].rstrip("\r")
    headers = {sign: next(csv.reader([line], delimiter=sign), []) for sign in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda sign: len(wanted & set(headers[sign])))
    header = headers[separator]
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise InputError(
            "the header names a column twice", file=url, field=twice[0], rule="one column a name", cure="rename one"
        )
    return header, separator, blank


def _head(url: str) -> str:
    if is_remote(url):
        from rporec.data.sources import remote

        raw = remote.head(url, _HEAD)
    else:
        with open(url, "rb") as stream:  # noqa: PTH123 - a plain string opens it
            raw = stream.read(_HEAD)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("the data file is UTF-16", file=url, rule="UTF-8", cure="save it as UTF-8")
    return raw.decode("utf-8-sig", errors="replace")


def _options(url: str) -> dict[str, str] | None:
    if not is_remote(url):
        return None
    from rporec.data.sources import remote

    return remote.storage_options()
