"""The folder adapter: both layouts, parquet and CSV, types taken and refused, broken files."""

import datetime as dt

import polars as pl
import pytest

from rporec.data.folder import FolderSource
from rporec.data.sources import find_layout
from rporec.errors import InputError
from tests.data import shop


def read(folder):
    return FolderSource(find_layout(folder)).read()


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
    raw = read(shop.write_events(tmp_path, frame, table))
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
        (lambda f: f.with_columns(pl.col("timestamp").cast(pl.String)), "timestamp"),
        (lambda f: f.with_columns(pl.col("timestamp").cast(pl.Float64)), "timestamp"),
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


@pytest.mark.parametrize("content", [b"", b"user_id,item_id,timestamp\n\xff\xfe,i0,2\n", b"user_id,item_id\na,b\n"])
def test_a_broken_csv_is_refused(tmp_path, content):
    shop.write_events(tmp_path, shop.steady(), suffix=".csv")
    (tmp_path / "interactions.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"interactions\.csv"):
        read(tmp_path)


def test_a_folder_name_with_wildcards_is_only_a_name(tmp_path):
    raw = read(shop.write_events(tmp_path / "data[1]*", shop.steady()))
    assert raw.interactions.height == len(shop.steady())
