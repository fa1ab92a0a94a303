"""Times as people write them: seconds to nanoseconds since 1970, date-times, ISO 8601 text. Told apart or refused.

A number's unit is told by its size; one column has one unit. Values of another kind become null and are noted.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

# From 1973 to 5138 the four units of one moment lie in four ranges that do not touch.
UNITS = {"s": (1e8, 1e11, 1), "ms": (1e11, 1e14, 10**3), "us": (1e14, 1e17, 10**6), "ns": (1e17, 1e20, 10**9)}
_MIXED = 0.05  # share of readable values in a second unit above which the column is refused
_ISO = "ISO 8601 text, UTC unless it names an offset"
_OFFSET, _HOURS = r" ?([+-]\d\d):?(\d\d)$", r"(:\d\d(?:\.\d+)?) ?([+-]\d\d)$"


@dataclass(frozen=True)
class Reading:
    """How a column of times is read.

    Args:
        seconds: s UTC (i64), null where a value does not fit.
        stated: what was found, in words.
    """

    seconds: pl.Expr
    stated: str


class MixedTimesError(ValueError):
    """A column whose times cannot be told apart; the text says what it holds."""


def read_times(frame: pl.LazyFrame, name: str) -> Reading | None:
    """Return how a column of times is to be read, or None for a type that holds no times.

    Args:
        frame: a table.
        name: one of its columns: whole numbers, floats, text, dates or date-times.

    Raises:
        MixedTimesError: two units in one column, or text that is no time.
    """
    kind = frame.collect_schema()[name]
    column = pl.col(name)
    if isinstance(kind, pl.Datetime | pl.Date):
        zone = getattr(kind, "time_zone", None)
        return Reading(column.dt.epoch("s").cast(pl.Int64), f"date-times, {zone or 'taken as UTC'}")
    if kind.is_integer() or kind == pl.Null:
        return _numbers(frame, column.cast(pl.Int64, strict=False))
    if kind.is_float() or isinstance(kind, pl.Decimal):
        column = column.cast(pl.Float64)
        return _numbers(frame, _whole(column))
    if kind == pl.String:
        return _texts(frame, column.str.strip_chars())
    return None


def _whole(column: pl.Expr) -> pl.Expr:
    """Numbers as whole ones, for spreadsheets write 1291733820.0; fractions are cut off, as of ms; exact to 2^53."""
    return pl.when(column.is_finite()).then(column.floor().cast(pl.Int64, strict=False))


def _texts(frame: pl.LazyFrame, column: pl.Expr) -> Reading:
    number = pl.coalesce(column.cast(pl.Int64, strict=False), _whole(column.cast(pl.Float64, strict=False)))
    moment = _iso(column)
    filled = column.filter(column != "")
    others = _iso(column.filter((column != "") & number.is_null()))  # dates are looked for where no number stands
    found = frame.select(
        filled=filled.count(), numbers=number.count(), moments=others.count(), example=filled.first()
    ).collect()  # fmt: skip
    filled_n, numbers, moments, example = found.row(0)
    if filled_n and not numbers and not moments:
        raise MixedTimesError(f"no value is a time, for instance {example!r}")
    if min(numbers, moments) > _MIXED * (numbers + moments):
        raise MixedTimesError(f"{numbers} numbers and {moments} dates as text stand in one column")
    return _numbers(frame, number) if numbers >= moments else Reading(moment, _ISO)


def _iso(column: pl.Expr) -> pl.Expr:
    text = column.str.replace("T", " ", literal=True).str.replace(r"Z$", "+00:00")
    text = text.str.replace(_HOURS, "${1}${2}:00").str.replace(_OFFSET, "${1}:${2}")
    with_offset = [text.str.to_datetime(f"%Y-%m-%d %H:%M{rest}%:z", strict=False, time_zone="UTC", time_unit="us")
                   for rest in (":%S%.f", "")]  # fmt: skip
    plain = [text.str.to_datetime(f"%Y-%m-%d %H:%M{rest}", strict=False, time_unit="us") for rest in (":%S%.f", "")]
    day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce(*(moment.dt.epoch("s") for moment in (*plain, day, *with_offset))).cast(pl.Int64)


def unit_of(counts: dict[str, int]) -> str | None:
    """Return the unit of a column of numbers, or None when it holds several.

    Args:
        counts: of each of UNITS, how many numbers lie in its range.
    """
    total = sum(counts.values())
    unit = max(counts, key=lambda name: (counts[name], name == "s")) if total else "s"
    return None if total - counts[unit] > _MIXED * total else unit


def _numbers(frame: pl.LazyFrame, number: pl.Expr) -> Reading:
    size = number.abs()
    ranges = {unit: size.is_between(low, high, closed="left").sum() for unit, (low, high, _) in UNITS.items()}
    counts = frame.select(**ranges, filled=number.count(), example=number.first()).collect().row(0, named=True)
    filled, example = counts.pop("filled"), counts.pop("example")
    if filled > 2 * sum(counts.values()):
        raise MixedTimesError(
            f"most numbers are no times since 1973 in s, ms, us or ns, for instance {example} (a date is 2024-01-31)"
        )
    unit = unit_of(counts)
    if unit is None:
        held = ", ".join(f"{count} in {name}" for name, count in counts.items() if count)
        raise MixedTimesError(f"several units of time stand in one column: {held}")
    low, high, a_second = UNITS[unit]
    if unit == "s":  # small numbers are early times, great ones are refused by their size later
        return Reading(number, "s since 1970, UTC")
    fits = size.is_between(low, high, closed="left")
    return Reading(pl.when(fits).then(number // a_second), f"{unit} since 1970, UTC")
