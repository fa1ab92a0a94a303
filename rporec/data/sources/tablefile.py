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
_EXTRA, _ROW = "__extra", "__row"
_UNKNOWN = "\ufffd"  # stands where bytes were no UTF-8
_IDS = ("user_id", "item_id", "target")


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
    ids = [pl.col(name).str.contains(_UNKNOWN, literal=True) for name in _IDS if name in wanted]
    fault: pl.Expr = pl.lit(None, dtype=pl.String)
    if dialect.as_text:
        extra = pl.when(pl.col(_EXTRA).is_not_null()).then(pl.lit("too_many_fields"))
        fault = extra.when(pl.any_horizontal(ids)).then(pl.lit("not_utf8"))
    marked = converted.with_columns(
        fault=fault,
        file=pl.lit(file.name),
        row=pl.col(_ROW).cast(pl.Int64),
    )
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
    header, separator = _header(url, {getattr(names, raw) for raw in wanted})
    # One column more than the header has: whatever stands there shows a row with too many fields.
    frame = pl.scan_csv(
        url, separator=separator, schema=dict.fromkeys([*header, _EXTRA], pl.String()), missing_columns="insert",
        truncate_ragged_lines=True, encoding="utf8-lossy", glob=False, storage_options=_options(url),
    )  # fmt: skip
    decimal_comma = separator == ";"
    stated: dict[str, object] = {"separator": separator, **({"decimals": "comma or point"} if decimal_comma else {})}
    return frame.with_row_index(_ROW), Dialect(as_text=True, decimal_comma=decimal_comma), stated


def _header(url: str, wanted: set[str]) -> tuple[list[str], str]:
    """Return the header's names and the separator by which most wanted columns are found in it."""
    text = _head(url)
    if not text.strip():
        raise InputError("the data file is empty", file=url, rule="a header line", cure="write it again")
    headers = {sign: next(csv.reader([text.splitlines()[0]], delimiter=sign), []) for sign in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda sign: len(wanted & set(headers[sign])))
    header = headers[separator]
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise InputError(
            "the header names a column twice", file=url, field=twice[0], rule="one column a name", cure="rename one"
        )
    return header, separator


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
