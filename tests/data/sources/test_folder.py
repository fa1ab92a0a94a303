"""The folder adapter: both layouts, parquet and CSV, types taken and refused, broken files."""

import contextlib
import csv
import dataclasses
import datetime as dt

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rporec.data.clean import clean
from rporec.data.sources.tablefile import readable
from rporec.errors import InputError
from tests.data import shop


@dataclasses.dataclass
class Read:
    """What the adapter yields, collected."""

    interactions: pl.DataFrame
    items: pl.DataFrame
    timed: bool
    stated: dict


def read(folder, **changes):
    raw = shop.read_folder(folder, **changes)
    with readable(str(folder)):
        return Read(raw.interactions.collect(), raw.items.collect(), raw.timed, raw.stated)


def test_events_in_parquet_and_csv_are_the_same(tmp_path):
    rows = shop.steady(users=3, days=4)
    one = read(shop.write_events(tmp_path / "p", rows))
    two = read(shop.write_events(tmp_path / "c", rows, suffix=".csv"))
    assert one.timed
    assert two.timed
    for table in ("interactions", "items"):
        first, second = getattr(one, table).drop("file"), getattr(two, table).drop("file")
        texts = pl.selectors.string() - pl.selectors.by_name("note")
        assert first.with_columns(texts.fill_null("")).equals(second.with_columns(texts.fill_null("")))


def test_given_split(tmp_path):
    raw = read(shop.write_given(tmp_path))
    assert not raw.timed
    assert raw.interactions["split"].to_list() == ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
    assert raw.interactions["history"].to_list()[2] == ["i0", "i1"]
    assert raw.interactions["item_id"].to_list()[2] == "i2"
    assert raw.interactions["row"].to_list() == [*range(6), 0, 1, 0, 1]
    assert raw.items["price"].is_null().all()  # the column is absent


def test_given_split_in_csv_reads_lists_written_as_text(tmp_path):
    shop.write_given(tmp_path)
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.parquet").unlink()
    for name, lists in (("train", ['"[""i0"", ""i1""]"', "i0|i1"]), ("valid", ["\"['i0', 'i1']\""]), ("test", ["[i0"])):
        text = "\n".join(["user_id,history,target", *(f"u,{cell},i2" for cell in lists)])
        (tmp_path / f"{name}.csv").write_text(text)
    raw = read(tmp_path)
    assert raw.interactions["history"].to_list() == [["i0", "i1"]] * 3 + [None]
    assert raw.interactions["note"].to_list() == [None] * 3 + ["history '[i0'"]


def test_types_that_are_taken(tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": pl.Series([7, 8], dtype=pl.Int32),
            "item_id": pl.Series(["i0", "i1"], dtype=pl.Categorical),
            "timestamp": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)],
        }
    )
    table = shop.items().with_columns(pl.col("price").cast(pl.Float32), category=pl.lit(None))
    table = table.drop("category").with_columns(categories=pl.lit(["Home", "Mugs"]))
    raw = read(shop.write_events(tmp_path, frame, table), columns={"category": "categories"})
    assert raw.interactions["user_id"].to_list() == ["7", "8"]
    assert raw.interactions["timestamp"].to_list() == [1_767_225_600, 1_767_312_000]
    assert raw.items["category"][0] == "Home > Mugs"
    assert raw.items["price"].to_list() == shop.items()["price"].to_list()


def test_unreadable_values_in_csv_become_notes(tmp_path):
    shop.write_events(tmp_path, shop.steady(2, 3), suffix=".csv")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,i0,soon\nu,i1,1700000000.0\n,i1,\n")
    rows = read(tmp_path).interactions
    assert rows["note"].to_list() == ["timestamp 'soon'", None, None]
    assert rows["timestamp"].to_list() == [None, 1_700_000_000, None]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda f: f.drop("timestamp"), "timestamp"),
        (lambda f: f.drop("user_id"), "user_id"),
        (lambda f: f.with_columns(timestamp=pl.lit("01/02/2024")), "timestamp"),
        (lambda f: f.with_columns(timestamp=pl.lit(value=True)), "timestamp"),
        (
            lambda f: f.with_columns(
                pl.col("timestamp") * pl.when(pl.int_range(pl.len()) > 70).then(1000).otherwise(1)
            ),
            "timestamp",
        ),
        (lambda f: f.with_columns(item_id=pl.lit(1.5)), "item_id"),
        (lambda f: f.with_columns(user_id=pl.concat_list("user_id")), "user_id"),
    ],
)
def test_a_missing_or_wrong_column_is_named(tmp_path, change, field):
    folder = shop.write_events(tmp_path, change(shop.events(shop.steady())))
    with pytest.raises(InputError) as caught:
        read(folder)
    message = caught.value.message()
    for part in (f"field: {field}", "interactions.parquet", "rule:", "cure:"):
        assert part in message


@pytest.mark.parametrize("change", [{"price": "dear"}, {"title": 3.5}])
def test_a_wrong_item_column_is_named(tmp_path, change):
    table = shop.items().with_columns(**{name: pl.lit(value) for name, value in change.items()})
    with pytest.raises(InputError, match=f"field: {next(iter(change))}"):
        read(shop.write_events(tmp_path, shop.steady(), table))


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.99])
def test_a_cut_off_parquet_is_refused(tmp_path, keep):
    folder = shop.write_events(tmp_path, shop.steady())
    path = folder / "interactions.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 or keep == 0 else len(data) * keep)])
    with pytest.raises(InputError, match="cannot be read") as caught:
        read(folder)
    assert "interactions.parquet" in caught.value.message()


def test_garbage_in_the_middle_is_refused_or_read_but_never_a_crash(tmp_path):
    folder = shop.write_events(tmp_path, shop.steady(users=40, days=40))
    path = folder / "interactions.parquet"
    data = path.read_bytes()
    refused = 0
    for at in range(8, len(data) - 8, max(1, len(data) // 60)):
        path.write_bytes(data[:at] + bytes(b ^ 0x5A for b in data[at : at + 8]) + data[at + 8 :])
        try:
            read(folder)
        except InputError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"user_id,item_id\na,b\n",
        "user_id,item_id,timestamp\nu,i0,1\n".encode("utf-16"),
        b"user_id,item_id,timestamp,user_id\nu,i,1,u\n",
    ],
)
def test_a_broken_csv_is_refused(tmp_path, content):
    shop.write_events(tmp_path, shop.steady(), suffix=".csv")
    (tmp_path / "interactions.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"interactions\.csv"):
        read(tmp_path)


def test_a_folder_name_with_wildcards_is_only_a_name(tmp_path):
    raw = read(shop.write_events(tmp_path / "data[1]*", shop.steady()))
    assert raw.interactions.height == len(shop.steady())


def events_csv(folder, content):
    """A folder whose interactions.csv is `content` (bytes), read."""
    shop.write_events(folder, shop.steady(), suffix=".csv")
    (folder / "interactions.csv").write_bytes(content)
    return read(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"user_id,item_id,timestamp\nu1,i0,1700000000\n",
        b"\xef\xbb\xbfuser_id;item_id;timestamp\r\nu1;i0;1700000000\r\n",
        b"timestamp\tnote, long\titem_id\tuser_id\n1700000000\tx,y\ti0\tu1\n",
        b'"user_id"|"item_id"|"timestamp"\n"u1"|"i0"|"1700000000.0"\n',
        b"user_id,item_id,timestamp\nu1,i0,1700000000",
    ],
    ids=["plain", "bom_semicolon_crlf", "tabs", "quoted_pipes", "no_last_newline"],
)
def test_csv_as_people_write_it(tmp_path, content):
    found = events_csv(tmp_path, content)
    assert found.interactions.select("user_id", "item_id", "timestamp", "fault").rows() == [
        ("u1", "i0", 1_700_000_000, None)
    ]


def test_csv_damage_stays_visible_row_by_row(tmp_path):
    rows = [
        b"u1,i0,1700000000", b'"u\n2",i1,1700000000', b"u3,i2,1700000000,more,and more", b"u4",
        b"u\xff5,i0,1700000000", b",,", b"", b"u6,i0,1700000000",
    ]  # fmt: skip
    found = events_csv(tmp_path, b"\n".join([b"user_id,item_id,timestamp", *rows]) + b"\n").interactions
    assert found["row"].to_list() == list(range(8))
    assert found["fault"].to_list() == [None, None, "too_many_fields", None, "not_utf8", None, None, None]
    assert found["user_id"].to_list()[:4] == ["u1", "u\n2", "u3", "u4"]
    assert found["user_id"].null_count() == 2
    blank = events_csv(tmp_path, b"\n \nuser_id,item_id,timestamp\nu1,i0,1700000000\n").interactions
    assert blank.select("user_id", "row").rows() == [("u1", 0)]


def test_rows_that_a_stray_quote_swallows_are_seen(tmp_path):
    rows = [b"u%d,i0,1700000000" % k for k in range(3000)]
    rows[5], rows[9] = b'u5,"i0,1700000000', b'u9,i0",1700000000'
    found = events_csv(tmp_path, b"\n".join([b"user_id,item_id,timestamp", *rows])).interactions
    assert found.height == 2996
    assert found.filter(pl.col("fault") == "broken_quotes")["row"].to_list() == [5]
    rows[9], rows[2900] = b"u9,i0,1700000000", b'u9,i0",1700000000'
    with pytest.raises(InputError, match="not closed") as caught:
        events_csv(tmp_path, b"\n".join([b"user_id,item_id,timestamp", *rows]))
    assert "field: row 5" in caught.value.message()
    with pytest.raises(InputError, match="CR alone"):
        events_csv(tmp_path, b"user_id,item_id,timestamp\ru,i0,1700000000\r")


@pytest.mark.parametrize("values", [[20231115, 20231116], ["20231115", "20231116"], [19675, 19676]])
def test_numbers_that_are_no_times_are_refused(tmp_path, values):
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["i0", "i1"], "timestamp": values})
    with pytest.raises(InputError, match="most numbers are no times"):
        read(shop.write_events(tmp_path, frame))


def test_one_part_with_times_and_one_without_is_refused(tmp_path):
    folder = shop.write_given(tmp_path)
    for name in ("train", "test"):
        frame = pl.read_parquet(folder / f"{name}.parquet")
        frame.with_columns(timestamp=pl.lit(MOMENT)).write_parquet(folder / f"{name}.parquet")
    with pytest.raises(InputError, match=r"valid\.parquet") as caught:
        read(folder)
    assert "times in every part, or in none" in caught.value.message()


def test_further_types_of_ids_and_histories(tmp_path):
    shop.write_given(tmp_path)
    frame = pl.DataFrame(
        {"user_id": ["7.00", "8.00"], "history": [["i0"], ["i1"]], "target": ["i2", "i3"]},
    ).with_columns(pl.col("user_id").cast(pl.Decimal(10, 2)), pl.col("history").cast(pl.List(pl.Categorical)))
    frame.write_parquet(tmp_path / "test.parquet")
    found = read(tmp_path).interactions.filter(pl.col("split") == "test")
    assert found["user_id"].to_list() == ["7", "8"]
    assert found["history"].to_list() == [["i0"], ["i1"]]


def test_a_semicolon_file_may_have_decimal_commas(tmp_path):
    shop.write_events(tmp_path, shop.steady(), suffix=".csv")
    (tmp_path / "items.csv").write_text("item_id;title;price\ni0;mug;3,50\ni1;cup;2.25\ni2;jar;dear\n")
    found = read(tmp_path)
    assert found.items["price"].to_list() == [3.5, 2.25, None]
    assert found.items["note"].to_list() == [None, None, "price 'dear'"]
    assert found.stated["items.csv"]["separator"] == ";"
    assert found.stated["items.csv"]["absent"] == ["description", "brand", "category", "known_from"]


MOMENT = 1_700_000_000


@pytest.mark.parametrize(
    ("values", "stated"),
    [
        ([MOMENT, MOMENT + 1], "s since 1970, UTC"),
        ([MOMENT * 1000, MOMENT * 1000 + 1999], "ms since 1970, UTC"),
        ([MOMENT * 10**6, MOMENT * 10**6 + 1_500_000], "us since 1970, UTC"),
        ([MOMENT * 10**9, (MOMENT + 1) * 10**9], "ns since 1970, UTC"),
        ([float(MOMENT), MOMENT + 1.0], "s since 1970, UTC"),
        (["2023-11-14T22:13:20Z", "2023-11-14 22:13:21"], "ISO 8601 text, UTC unless it names an offset"),
        (["2023-11-14T23:13:20.25+01:00", "2023-11-14 22:13:21+00"], "ISO 8601 text, UTC unless it names an offset"),
        ([str(MOMENT * 1000), f"{MOMENT + 1}000.0"], "ms since 1970, UTC"),
        ([dt.datetime(2023, 11, 14, 22, 13, 20), dt.datetime(2023, 11, 14, 22, 13, 21)], "date-times, taken as UTC"),
    ],
)
def test_times_are_told_apart_and_stated(tmp_path, values, stated):
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["i0", "i1"], "timestamp": values})
    found = read(shop.write_events(tmp_path, frame))
    assert found.interactions["timestamp"].to_list() == [MOMENT, MOMENT + 1]
    assert found.stated["interactions.parquet"]["timestamp"] == stated


def test_a_few_times_of_another_unit_are_noted_not_guessed(tmp_path):
    times = [MOMENT * 1000 + k for k in range(99)] + [MOMENT]
    frame = pl.DataFrame({"user_id": ["u"] * 100, "item_id": ["i0"] * 100, "timestamp": times})
    found = read(shop.write_events(tmp_path, frame)).interactions
    assert found["timestamp"].null_count() == 1
    assert found["note"][99] == f"timestamp '{MOMENT}'"


def test_days_and_midnights(tmp_path):
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["i0", "i1"], "timestamp": ["2023-11-14", "2023-11-15"]})
    found = read(shop.write_events(tmp_path, frame)).interactions
    assert found["timestamp"].to_list() == [1_699_920_000, 1_700_006_400]


def test_columns_of_other_names(tmp_path):
    frame = shop.events(shop.steady(2, 3)).rename({"user_id": "customer", "timestamp": "when"})
    shop.write_events(tmp_path, frame)
    found = read(tmp_path, columns={"user_id": "customer", "timestamp": "when"})
    assert found.interactions["user_id"].to_list() == frame["customer"].to_list()
    with pytest.raises(InputError, match=r"ingest\.columns\.brand") as caught:
        read(tmp_path, columns={"user_id": "customer", "timestamp": "when", "brand": "make"})
    assert "field: make" in caught.value.message()  # who names a column means one that is there


def test_a_table_may_be_a_folder_of_parts_in_any_order(tmp_path):
    rows = shop.steady(users=3, days=4)
    whole = read(shop.write_events(tmp_path / "whole", rows)).interactions
    folder = shop.write_events(tmp_path / "parts", rows)
    (folder / "interactions.parquet").unlink()
    (folder / "interactions").mkdir()
    shop.events(rows[5:]).write_parquet(folder / "interactions/part-0.parquet")
    shop.events(rows[:5]).write_csv(folder / "interactions/part-1.csv")
    (folder / "interactions/_SUCCESS").write_text("")
    found = read(folder).interactions
    assert set(found["file"]) == {"interactions/part-0.parquet", "interactions/part-1.csv"}
    key = ["user_id", "item_id", "timestamp"]
    assert found.select(key).sort(key).equals(whole.select(key).sort(key))


TEXT = st.text(alphabet=st.sampled_from(["u", "i", "0", ",", '"', "\n", ";", " ", "\ufffd", "é", "\x00"]), max_size=6)
CELL = st.one_of(TEXT, st.sampled_from(["i0", "i1", "1700000000", "2024-01-01", "nan", "-5", "1e400"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=6))
def test_every_row_of_a_strange_csv_is_kept_or_quarantined(tmp_path, rows):
    good = [(f"u{k}", "i0", str(MOMENT + 86_400 * d)) for k in range(3) for d in range(9)]
    with (tmp_path / "interactions.csv").open("w", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("user_id", "item_id", "timestamp"), *good, *rows])
    shop.items().write_csv(tmp_path / "items.csv")
    with contextlib.suppress(InputError):  # a column that is half numbers, half dates is refused as a whole
        found = clean(shop.read_folder(tmp_path), shop.ingest_params(), MOMENT * 2)
        assert found.interactions.height + found.quarantine.height == len(good) + len(rows)
