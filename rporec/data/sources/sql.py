"""The SQL source: two queries on any database that SQLAlchemy knows, read lazily and never written.

Only the wanted columns cross, and only rows within the bounds where the database can judge the time: numbers whose
unit can be told, dates and date-times. Times as text are read whole and bounded here. Rows outside the bounds are left
unread, so they are not counted. Each reading of a table asks its query again; rows cross in batches of bounded size.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from rporec.config import ColumnNames, IngestParams
from rporec.data.sources import times
from rporec.data.sources.base import RAW_INTERACTIONS, RAW_ITEMS, Bounds, Raw, bounds_of, complete
from rporec.data.sources.columns import EVENT_COLUMNS, ITEM_COLUMNS, Dialect, Wanted, convert, require
from rporec.data.sources.database import Query, Where, checked, open_database
from rporec.data.sources.sqlvalues import Kind, frame, kind_of, odd_one
from rporec.days import DAY, EARLIEST, LATEST
from rporec.errors import InputError

_BATCH = 20_000  # rows that are in memory as Python values at one time
_SAMPLE = 1000  # rows from which the kind of a column is told
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TABLES = {"interactions": EVENT_COLUMNS, "items": ITEM_COLUMNS}


@dataclass(frozen=True)
class Table:
    """One query whose columns are known.

    Args:
        query: what is asked.
        kinds: the user's column → how its values are read, of wanted columns that are there.
        where: the bounds as the database judges them; None = all rows.
        outside: why → the condition of the rows that are left unread so.
        stated: what became of the bounds, in words.
    """

    query: Query
    kinds: dict[str, Kind]
    where: Where | None
    stated: str | None
    outside: dict[str, Where]

    def unread(self) -> dict[str, int]:
        """Return how many rows are left unread, by why; counted in the database."""
        found = {}
        for why, where in self.outside.items():
            with self.query.database.reading(self.query.name) as connection:
                found[why] = int(connection.execute(self.query.select(["count(*)"], where)).scalar_one())
        return found


@dataclass(frozen=True)
class SqlSource:
    """Reads the two queries of `ingest.sql`."""

    params: IngestParams
    place: str | None

    def read(self, scratch: Path, bounds: Bounds) -> Raw:  # noqa: ARG002 - nothing is unpacked
        """Open both queries (see `rporec.data.sources.base.Source`)."""
        stated: dict[str, dict[str, object]] = {}
        frames: dict[str, pl.LazyFrame] = {}
        unread: dict[str, int] = {}
        for name, columns in (("interactions", RAW_INTERACTIONS), ("items", RAW_ITEMS)):
            table = _open(self.params, self.place, name, bounds)
            unread |= table.unread()
            rows = _scan(table).with_row_index("__row")
            converted, said = convert(rows, _TABLES[name], self.params.columns, Dialect(as_text=True), table.query.name)
            stated[table.query.name] = said | ({"bounds": table.stated} if table.stated else {})
            marked = converted.with_columns(file=pl.lit(table.query.name), row=pl.col("__row").cast(pl.Int64))
            frames[name] = complete(marked, columns)
        return Raw(
            frames["interactions"], frames["items"], timed=True, given=False, stated=stated, unread=unread
        )  # fmt: skip


def fingerprint(params: IngestParams, place: str | None) -> dict[str, dict[str, object]]:
    """Return what tells two states of a database apart, counted inside it and within the bounds; no row crosses.

    A value that changes in place (a price, a title) is not seen: a database that is mended so needs a new `as_of`.

    Args:
        params: section `ingest`.
        place: the database's URL.

    Returns:
        Per table `rows`, distinct `users` and `items`, and the `first` and `last` time as the database has it.

    Raises:
        InputError: the database cannot be read, or a query lacks a column.
    """
    names, found = params.columns, {}
    for name in _TABLES:
        table = _open(params, place, name, bounds_of(params))
        ask = table.query.quoted
        time = names.timestamp if name == "interactions" else names.known_from
        wanted = {"rows": "count(*)", "items": f"count(DISTINCT {ask(names.item_id)})"}
        if name == "interactions":
            wanted["users"] = f"count(DISTINCT {ask(names.user_id)})"
        if time in table.kinds:
            wanted |= {"first": f"min({ask(time)})", "last": f"max({ask(time)})"}
        with table.query.database.reading(table.query.name) as connection:
            row = connection.execute(table.query.select(list(wanted.values()), table.where)).one()
        found[name] = {key: _plain(value) for key, value in zip(wanted, row, strict=True)}
    return found


def _plain(value: object) -> object:
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC)  # whatever zone the session has
    return value if value is None or isinstance(value, int) else str(value)


def _open(params: IngestParams, place: str | None, name: str, bounds: Bounds) -> Table:
    text = params.sql.interactions if name == "interactions" else params.sql.items
    query = checked(open_database(place), f"ingest.sql.{name}", text)
    wanted = _present(query, _TABLES[name], params.columns)
    kinds = _kinds(query, wanted)
    if name == "items" or bounds == Bounds():
        return Table(query, kinds, None, None, {})
    time = params.columns.timestamp
    outside = _outside(query, time, kinds[time], bounds)
    if outside is None:
        why = "the unit of time is not told" if kinds[time].is_number else "times are text"
        return Table(query, kinds, None, f"not sent: {why}", {})
    return Table(query, kinds, _within(outside, query.quoted(time)), "judged by the database", outside)


def _present(query: Query, wanted: dict[str, Wanted], names: ColumnNames) -> dict[str, Wanted]:
    """Return the wanted columns that the query has, by the user's names."""
    present = query.columns()
    found: dict[str, Wanted] = {}
    for raw, how in wanted.items():
        name = getattr(names, raw)
        if name in present:
            found[name] = how
        else:
            require(query.name, raw, name, how, present)
    return found


def _kinds(query: Query, wanted: dict[str, Wanted]) -> dict[str, Kind]:
    """Tell each column's kind from the first rows, or from its first value where those are all null."""
    asked = [query.quoted(name) for name in wanted]
    kinds = {}
    with query.database.reading(query.name) as connection:
        streamed = connection.execution_options(stream_results=True, yield_per=_SAMPLE)
        with streamed.execute(query.select(asked)) as result:
            rows = next(result.partitions(_SAMPLE), [])
        for number, (name, how) in enumerate(wanted.items()):
            sample = [row[number] for row in rows]
            if len(rows) == _SAMPLE and all(value is None for value in sample):
                known = query.select([asked[number]], Where(f"{asked[number]} IS NOT NULL", {}))
                with streamed.execute(known) as result:
                    sample = [result.scalar()]
            kind = kind_of(sample, how, loose=query.database.engine.dialect.name == "sqlite")
            if kind is None:
                raise InputError(
                    "a column of a query has the wrong type",
                    file=query.name, field=name, value=odd_one(sample),
                    rule=f"a column of {how.kind}", cure=f"write CAST({name} AS ...) in the query",
                )  # fmt: skip
            kinds[name] = kind
    return kinds


def _outside(query: Query, time: str, kind: Kind, bounds: Bounds) -> dict[str, Where] | None:
    """Return why → the condition of rows that lie outside the bounds, or None when times cannot be told.

    A time that is none (of another unit, or text among numbers) lies nowhere: its row crosses and is judged here.
    """
    unit = None
    if kind.is_number:
        unit = _unit(query, time)
        if unit is None:
            return None
    elif kind.dtype == pl.String:
        return None

    def told(seconds: int) -> object:
        if unit is not None:
            return seconds * times.UNITS[unit][2]
        moment = _EPOCH + dt.timedelta(seconds=seconds)
        if kind.dtype == pl.Date:  # a day belongs to where it begins
            return (moment + dt.timedelta(seconds=-seconds % DAY)).date()
        return moment.replace(tzinfo=dt.UTC if getattr(kind.dtype, "time_zone", None) else None)

    spans = {"after_as_of": (bounds.end, LATEST), "before_window": (EARLIEST, bounds.start)}
    column = query.quoted(time)
    return {
        why: Where(f"{column} >= :rporec_low AND {column} < :rporec_high",
                   {"rporec_low": told(low), "rporec_high": told(high)})
        for why, (low, high) in spans.items() if low is not None and high is not None
    }  # fmt: skip


def _within(outside: dict[str, Where], column: str) -> Where:
    """Return the condition of the rows that are left, those without a time among them."""
    sides = [f"({column} < :rporec_low{number} OR {column} >= :rporec_high{number})" for number in range(len(outside))]
    values = {
        f"{name}{number}": value
        for number, where in enumerate(outside.values())
        for name, value in where.values.items()
    }
    return Where(f"({' AND '.join(sides)}) OR {column} IS NULL", values)


def _unit(query: Query, time: str) -> str | None:
    """Tell the unit of a column of numbers by counts inside the database, as `rporec.data.sources.times` does here."""
    size = f"abs({query.quoted(time)})"
    counts = [
        f"sum(CASE WHEN {size} >= {int(low)} AND {size} < {int(high)} THEN 1 ELSE 0 END)"
        for low, high, _ in times.UNITS.values()
    ]
    with query.database.reading(query.name) as connection:
        row = connection.execute(query.select(counts)).one()
    return times.unit_of({unit: int(count or 0) for unit, count in zip(times.UNITS, row, strict=True)})


def _scan(table: Table) -> pl.LazyFrame:
    """Return a query as a lazy table: columns that Polars does not need are not asked for."""

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        every = list(table.kinds)
        wanted = every if columns is None else columns or every[:1]  # even rows that are only counted must be read
        for rows in _rows(table, wanted, limit):
            yield rows if predicate is None else rows.filter(predicate)

    return register_io_source(batches, schema={name: kind.dtype for name, kind in table.kinds.items()})


def _rows(table: Table, columns: list[str], limit: int | None) -> Iterator[pl.DataFrame]:
    kinds = {name: table.kinds[name] for name in columns}
    query = table.query
    yield frame([], kinds, query.name)
    with query.database.reading(query.name) as connection:
        streamed = connection.execution_options(stream_results=True, yield_per=_BATCH)
        asked = query.select([query.quoted(name) for name in columns], table.where)
        for rows in streamed.execute(asked).partitions(_BATCH):
            wanted = rows if limit is None else rows[:limit]
            yield frame(wanted, kinds, query.name)
            if limit is not None:
                limit -= len(wanted)
                if not limit:
                    return
