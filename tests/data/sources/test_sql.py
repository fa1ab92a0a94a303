"""Source sql on SQLite, whose columns have no fixed types; see test_sql_postgres.py for a server."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rporec.data.clean import clean
from rporec.data.sources.base import Bounds, Raw
from rporec.data.sources.sql import SqlSource, fingerprint
from rporec.errors import InputError
from tests.data import shop
from tests.data.sources.databases import START, crossing, params

HOURS = 60_000
ALL = Bounds()
SEEN, GOODS = "select * from seen", "select * from goods"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "shop.db"
    with sqlite3.connect(path) as db:
        db.execute("create table seen (user_id, item_id, timestamp, rating, blob)")
        rows = ((f"u{n % 50}", n % 9, START + 3600 * n, None if n % 4 else 3.5, b"\0") for n in range(HOURS))
        db.executemany("insert into seen values (?, ?, ?, ?, ?)", rows)
        db.execute("create table goods (item_id, title, price)")
        db.executemany("insert into goods values (?, ?, ?)", ((n, f"thing {n}", None) for n in range(9)))
        db.execute("create table odd (user_id, item_id, timestamp, price)")
    return path


def _read(file: Path, interactions: str = SEEN, items: str = GOODS, bounds: Bounds = ALL, **names: str) -> Raw:
    return SqlSource(params(interactions, items, **names), f"sqlite:///{file}").read(Path(), bounds)


def _rows(file: Path, values: list[tuple[Any, ...]]) -> None:
    with sqlite3.connect(file) as db:
        db.execute("delete from odd")
        db.executemany("insert into odd values (?, ?, ?, ?)", values)


def test_only_what_is_wanted_crosses(file: Path) -> None:
    with crossing() as seen:
        raw = _read(file, bounds=Bounds(START + 3600 * 5, START + 3600 * 25))
        opened = seen.rows
        seen.clear()
        rows = raw.interactions.collect()
    assert rows["timestamp"].to_list() == [START + 3600 * n for n in range(5, 25)]
    assert opened <= 2020, "samples, and the times within the bounds"
    assert seen.rows == 20
    assert raw.unread == {"after_as_of": HOURS - 25, "before_window": 5}
    want = (
        "SELECT q.user_id, q.item_id, q.timestamp, q.rating FROM (",
        "(q.timestamp < ? OR q.timestamp >= ?)",
        "IS NULL",
    )
    assert all(part in seen.statements[-1].replace('"', "") for part in want), seen.statements[-1]


def test_rows_come_in_batches_of_bounded_size(file: Path) -> None:
    with crossing() as seen:
        raw = _read(file)
        seen.clear()
        assert raw.interactions.select("user_id").collect().height == HOURS
    assert (seen.rows, max(seen.batches), len(seen.batches)) == (HOURS, 20_000, 3)
    assert raw.interactions.select(pl.len()).collect().item() == HOURS
    assert raw.interactions.head(7).collect().height == 7


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_the_unit_of_numbers_is_told_inside_the_database(file: Path, factor: int, unit: str) -> None:
    query = f"select user_id, item_id, timestamp * {factor} as timestamp from seen union all select 'u', 1, 0"
    raw = _read(file, query, bounds=Bounds(START + 3600, START + 7200))
    # The time 0 is none at all: it is not outside the bounds, its row is judged here.
    assert raw.interactions.collect()["timestamp"].to_list() == [START + 3600, 0 if factor == 1 else None]
    assert raw.stated["ingest.sql.interactions"]["timestamp"] == f"{unit} since 1970, UTC"
    assert raw.stated["ingest.sql.interactions"]["bounds"] == "judged by the database"


def test_fractions_and_text_are_read_and_text_is_bounded_later(file: Path) -> None:
    _rows(file, [("u", 1, START + 0.7, "n/a"), ("u", 2, START + 9.2, "2.5"), ("u", 3, None, None)])
    raw = _read(
        file, "select * from odd", "select item_id, 't' as title, price from odd", Bounds(START + 1, START + 10)
    )
    assert raw.interactions.sort("item_id").collect()["timestamp"].to_list() == [START + 9, None]
    items = raw.items.sort("item_id").collect()
    assert items["price"].to_list() == [None, 2.5, None]
    assert items["note"].to_list() == ["price 'n/a'", None, None]
    _rows(file, [("u", 1, "2023-11-14T22:13:20Z", None), ("u", 2, "2030-01-01", None)])
    raw = _read(file, "select * from odd", bounds=Bounds(0, START + 10))
    assert raw.interactions.collect().height == 2
    assert raw.stated["ingest.sql.interactions"]["bounds"] == "not sent: times are text"


@pytest.mark.parametrize("bounds", [Bounds(), Bounds(START - 9, START + 9)])
def test_an_odd_time_is_a_row_that_is_judged_here(file: Path, bounds: Bounds) -> None:
    odd = ["yesterday", "2023-11-14", b"\xff", float("inf"), START * 1000]
    _rows(file, [("u", 1, START, None)] * 1500 + [("u", 2, value, None) for value in odd])
    rows = _read(file, "select * from odd", bounds=bounds).interactions.collect()
    assert rows.height == 1505
    times = rows.filter(pl.col("item_id") == "2").select("timestamp", "note").rows()
    assert [time for time, _ in times] == [None, None, None, None, START * 1000]
    assert times[0][1] == "timestamp 'yesterday'"


def test_mixed_kinds_are_refused(file: Path) -> None:
    _rows(file, [("u", 1, START, None), ("u", 1, START * 1000, None)])
    with pytest.raises(InputError, match="several units of time"):
        _read(file, "select * from odd", bounds=Bounds(0, START))


def test_an_empty_table_is_read_as_one(file: Path) -> None:
    _rows(file, [])
    assert _read(file, "select * from odd", bounds=Bounds(0, 1)).interactions.collect().height == 0


def test_tables_are_those_of_a_folder(tmp_path: Path) -> None:
    folder = shop.write_events(tmp_path / "data", shop.steady())
    path = tmp_path / "same.db"
    with sqlite3.connect(path) as db:
        for name in ("interactions", "items"):
            table = pl.read_parquet(folder / f"{name}.parquet")
            db.execute(f"create table {name} ({', '.join(table.columns)})")
            db.executemany(f"insert into {name} values ({', '.join('?' * table.width)})", reversed(table.rows()))
    given = params("select * from interactions", "select * from items")
    found = clean(SqlSource(given, f"sqlite:///{path}").read(tmp_path, Bounds()), given, 2**40)
    want = clean(shop.read_folder(folder), given, 2**40)
    assert found.interactions.equals(want.interactions)
    assert found.items.equals(want.items)


def test_fingerprint_follows_bounds_and_content(file: Path) -> None:
    given = params(SEEN, GOODS)
    place = f"sqlite:///{file}"
    found = fingerprint(given, place)
    assert found["interactions"] == {
        "rows": HOURS, "users": 50, "items": 9, "first": START, "last": START + 3600 * (HOURS - 1),
    }  # fmt: skip
    assert found["items"] == {"rows": 9, "items": 9}
    bounded = fingerprint(given.model_copy(update={"as_of": "2024-01-01", "window_days": 10}), place)
    assert bounded["interactions"]["rows"] == 240


@pytest.mark.parametrize(
    "query",
    [
        "delete from goods",
        "select 1; select 2",
        "select 1) as q; drop table goods; --",
        "",
        "insert into goods select 1",
    ],
)
def test_only_a_select_is_sent(file: Path, query: str) -> None:
    with crossing() as seen, pytest.raises(InputError, match="not one SELECT") as caught:
        fingerprint(params(SEEN, query or " "), f"sqlite:///{file}")
    assert "ingest.sql.items" in caught.value.message()
    assert not any("goods" in statement for statement in seen.statements)


def test_brackets_and_semicolons_in_text_and_remarks_are_no_code(file: Path) -> None:
    query = "with s as (select *, ';) -- ' as x from seen) select * from s; -- done )"
    assert _read(file, "select *, ');' as x from seen -- :) ; \n;").interactions.head(1).collect().height == 1
    with pytest.raises(InputError, match="not one SELECT"):
        _read(file, query)


@pytest.mark.parametrize(
    ("place", "word"),
    [
        (None, "add DATA=<URL>"),
        ("sqlite:////nowhere/shop.db", "does not exist"),
        ("nonsense://x", "no such kind of database"),
        ("postgresql+psycopg://u:hush@h:port/db", "cannot be read"),
    ],
)
def test_bad_places_are_refused(place: str | None, word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        fingerprint(params(SEEN, GOODS), place)
    assert "hush" not in caught.value.message()
