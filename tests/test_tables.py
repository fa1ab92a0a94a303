"""Every table is checked at the reader's door."""

import polars as pl
import pytest

from rporec import tables
from rporec.errors import InputError


def items():
    row = {"item_id": "a", "title": "t", "description": "", "brand": "", "category": "", "price": 1.0}
    return pl.DataFrame([row], schema=tables.ITEMS.columns)


def test_round_trip_and_same_bytes(tmp_path):
    for name in ("1", "2"):
        tables.write(items(), tmp_path / f"{name}.parquet", tables.ITEMS)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert tables.read(tmp_path / "1.parquet", tables.ITEMS).equals(items())


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        (items().drop("price"), "price"),
        (items().with_columns(pl.lit("cheap").alias("price")), "price"),
        (items().with_columns(pl.lit(1).alias("stars")), "stars"),
    ],
)
def test_a_broken_contract_names_the_column(tmp_path, broken, field):
    path = tmp_path / "items.parquet"
    broken.write_parquet(path)
    with pytest.raises(InputError) as caught:
        tables.read(path, tables.ITEMS)
    assert caught.value.field == field
    assert caught.value.cure


def test_missing_and_truncated_files_are_named(tmp_path):
    path = tmp_path / "items.parquet"
    with pytest.raises(InputError, match="missing"):
        tables.read(path, tables.ITEMS)
    tables.write(items(), path, tables.ITEMS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read") as caught:
        tables.read(path, tables.ITEMS)
    assert caught.value.file == path
