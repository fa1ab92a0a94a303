from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import polars as pl
import psycopg
import pytest

from rporec import config
from rporec.data.sources import identity
from rporec.data.sources.base import Bounds, Raw
from rporec.data.sources.sql import SqlSource, fingerprint
from rporec.errors import InputError
from rporec.files import read_json
from steps.ingest import ingest
from tests import postgres
from tests.data.sources.databases import START, crossing, params
from tests.steps.data_flow import run, workspace

SHOP = """
create table seen (
    uid bigint, item_id numeric(10, 0), s bigint, ms bigint, plain timestamp, zoned timestamptz, day date,
    iso text, stars numeric(2, 1));
insert into seen
    select g % 7, g % 5, t, t * 1000 + 7, to_timestamp(t) at time zone 'UTC', to_timestamp(t),
           (to_timestamp(t) at time zone 'UTC')::date, to_char(to_timestamp(t) at time zone 'UTC',
           'YYYY-MM-DD"T"HH24:MI:SS"Z"'), case when g % 3 = 0 then null else 4.5 end
    from (select g, 1700000000::bigint + g * 3600 as t from generate_series(0, 2999) as g) as times;
insert into seen values (1, 1, null, null, null, null, null, null, null);
create table goods (item_id int, title text, price numeric(8, 2), since timestamptz);
insert into goods select g, 'Item ' || g, g + 0.35, '2023-01-01 00:00:00+02' from generate_series(0, 4) as g;
"""
IN_BOUNDS = Bounds(START + 3600 * 100, START + 3600 * 110)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with postgres.server() as where:
        with psycopg.connect(_url(where).replace("+psycopg", "")) as shop:
            shop.execute("alter role ada set time zone 'Asia/Tokyo'")  # the session's zone must not matter
            shop.execute(SHOP)
        yield where


def _url(host: str, user: str = postgres.USER, password: str = postgres.PASSWORD, name: str = "postgres") -> str:
    return f"postgresql+psycopg://{user}:{quote(password, safe='')}@{host}/{name}"


def _params(time: str = "s", query: str = "select * from seen", **more: str) -> config.IngestParams:
    names = {"user_id": "uid", "timestamp": time, "rating": "stars", "known_from": "since", **more}
    return params(query, "select * from goods", **names)


def _read(host: str, time: str, bounds: Bounds = IN_BOUNDS) -> Raw:
    return SqlSource(_params(time), _url(host)).read(Path(), bounds)


@pytest.mark.parametrize("time", ["s", "ms", "plain", "zoned"])
def test_bounds_are_judged_by_the_database(host: str, time: str) -> None:
    with crossing() as seen:
        raw = _read(host, time)
        seen.clear()
        rows = raw.interactions.collect()
    assert rows["timestamp"].drop_nulls().to_list() == [START + 3600 * n for n in range(100, 110)]
    assert (rows.height, seen.rows) == (11, 11), "ten within the bounds, and the one without a time"
    assert f"(q.{time} < %(rporec_low0)s" in seen.statements[-1]
    assert sum(raw.unread.values()) == 3000 - 10
    assert raw.stated["ingest.sql.interactions"]["bounds"] == "judged by the database"


def test_dates_are_bounded_by_the_day_and_text_is_not_sent(host: str) -> None:
    days = _read(host, "day", Bounds(START, START + 86_400 * 2)).interactions.collect()["timestamp"].drop_nulls()
    assert days.min() >= START
    assert days.max() < START + 86_400 * 2
    assert days.n_unique() == 2
    raw = _read(host, "iso")
    assert raw.stated["ingest.sql.interactions"]["bounds"] == "not sent: times are text"
    assert raw.interactions.collect().height == 3001


def test_types_become_the_raw_columns(host: str) -> None:
    raw = _read(host, "zoned", Bounds())
    rows = raw.interactions.sort("timestamp", nulls_last=True).collect()
    assert rows.row(1, named=True) == {
        "user_id": "1", "item_id": "1", "timestamp": START + 3600, "rating": 4.5, "split": None, "history": None,
        "fault": None, "note": None, "file": "ingest.sql.interactions", "row": 1,
    }  # fmt: skip
    items = raw.items.sort("item_id").collect()
    assert items["price"].to_list() == [0.35, 1.35, 2.35, 3.35, 4.35]
    assert items["known_from"].unique().to_list() == [1672524000]
    assert items["brand"].null_count() == 5


def test_only_wanted_columns_are_asked_for_and_a_user_query_is_sent_as_it_is(host: str) -> None:
    query = "select *, 'a:b %s \\:x' as brand, s::text as other from seen -- a remark"
    with crossing() as seen:
        raw = SqlSource(_params(query=query), _url(host)).read(Path(), Bounds())
        raw.interactions.select("user_id").collect()
    assert seen.statements[-1].startswith("SELECT q.uid FROM (")
    assert "'a:b %%s \\:x'" in seen.statements[-1], "the driver reads %% as %"


def test_fingerprint_is_counted_inside_and_holds_no_secret(host: str) -> None:
    with crossing() as seen:
        found = identity.describe(_params("zoned"), _url(host))
    assert found["tables"]["interactions"] == {
        "rows": 3001, "users": 7, "items": 5, "first": "2023-11-14 22:13:20+00:00", "last": "2024-03-18 21:13:20+00:00",
    }  # fmt: skip
    assert found["tables"]["items"]["rows"] == 5
    assert "hush" not in str(found)
    assert seen.statements[-1].startswith("SELECT count(*)")


def _refusal(url: str | None, given: config.IngestParams) -> str:
    with pytest.raises(InputError) as caught:
        fingerprint(given, url)
    message = caught.value.message()
    assert "hush" not in message
    assert caught.value.__cause__ is None
    assert "cure" in message
    return message


def test_bad_places_are_refused_in_plain_words_without_the_password(host: str) -> None:
    assert "refuses the login" in _refusal(_url(host, password="hush wrong"), _params())
    assert "cannot be opened" in _refusal(_url(host, name="nowhere"), _params())
    assert "cannot be opened" in _refusal(_url("127.0.0.1:1"), _params())
    assert "cannot be opened" in _refusal(_url("no-such-host.invalid"), _params())
    assert "driver is not installed" in _refusal(_url(host).replace("+psycopg", "+pg8000"), _params())
    assert "no such kind of database" in _refusal(_url(host).replace("postgresql+psycopg", "postgres"), _params())
    assert "@ twice" in _refusal(f"postgresql+psycopg://ada:hu@hush@{host}/postgres", _params())


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select * from nowhere", ["ingest.sql.interactions", 'relation "nowhere" does not exist']),
        ("select uid, item_id from seen", ["lacks a column", "ingest.sql.interactions", "'uid', 'item_id'"]),
        ("select uid, item_id, s > 0 as s, stars from seen", ["wrong type", "field: s"]),
        ("with gone as (delete from seen returning *) select * from gone", ["ingest.sql.interactions"]),
        ("select setval('n', 1) as uid, 1 as item_id, 1 as s, 1 as stars", ["ingest.sql.interactions"]),
    ],
)
def test_bad_queries_are_refused_by_name(host: str, query: str, words: list[str]) -> None:
    message = _refusal(_url(host), _params(query=query))
    assert all(word in message for word in words), message


def test_nothing_can_be_written(host: str) -> None:
    with psycopg.connect(_url(host).replace("+psycopg", ""), autocommit=True) as shop:
        shop.execute("create function sneak() returns int language sql as 'delete from goods returning 1'")
    message = _refusal(_url(host), _params(query="select sneak() as uid, 1 as item_id, 1 as s, 1 as stars"))
    assert "read-only transaction" in message


def test_the_order_of_the_rows_does_not_matter_to_their_content(host: str) -> None:
    tables = [
        SqlSource(_params(query=f"select * from seen order by {order}"), _url(host)).read(Path(), IN_BOUNDS)
        for order in ("s", "s desc")
    ]
    first, second = (raw.interactions.drop("row").collect().sort(pl.all()) for raw in tables)
    assert first.equals(second)


def test_a_stage_leaves_no_password_anywhere(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RPOREC_DATA", _url(host))
    given = _params("zoned").model_dump()
    changes = {key: given[key] for key in ("source", "sql", "columns")} | {"as_of": "2024-01-01", "window_days": 20}
    with caplog.at_level("DEBUG"):
        outcome = run(workspace(tmp_path, {"ingest": changes}), "ingest", ingest)
    source = read_json(tmp_path / "outputs/ingest/source.json")
    assert source["tables"]["interactions"]["rows"] == 20 * 24 + 1, "the window, and the row without a time"
    assert source["counts"]["interactions"]["quarantined"] == {"timestamp_missing": 1}
    assert outcome.metrics["interactions"] == 20 * 24
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) > 5
    assert not [path for path in left if b"hush" in path.read_bytes()]
    assert "hush" not in caplog.text
