"""Contracts: good tables pass, each broken one is found, Data Docs appear and call nobody."""

import polars as pl
import pytest

from rporec.data import contracts
from tests.data import shop

END = shop.START + 20 * shop.DAY
TABLE = shop.timed_table(shop.steady())


def broken(interactions, items, folder, end=END, **changes):
    found = contracts.check(interactions, items, shop.validate_params(**changes), end, folder)
    return [(finding.table, finding.column) for finding in found if not finding.passed], found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contracts")


def test_good_tables_pass_with_docs(folder):
    bad, found = broken(TABLE, shop.items(), folder)
    assert bad == []
    assert {finding.table for finding in found} == {"interactions", "items"}
    assert all(finding.rule for finding in found)
    pages = sorted((folder / "docs").rglob("*.html"))
    assert folder / "docs" / "index.html" in pages
    assert len(pages) == 5  # index, two suites, two results
    assert not any("dataContextId" in page.read_text() for page in pages)
    again = broken(TABLE, shop.items(), folder)[1]
    assert again == found  # no run id, no time


def test_given_split_passes_without_times(folder):
    assert broken(shop.given_table(shop.SPLIT), shop.items(), folder, end=None)[0] == []


def test_every_break_is_found(folder):
    late = pl.when(pl.col("order") == 3).then(END).otherwise("timestamp")
    rows = pl.concat([TABLE.with_columns(timestamp=late), TABLE.tail(1)])
    rows = rows.with_columns(item_id=pl.when(pl.col("order") == 5).then(pl.lit("i77")).otherwise("item_id"))
    table = pl.concat([shop.items(), shop.items().head(1)]).with_columns(
        title=pl.when(pl.col("item_id") == "i3").then(pl.lit("")).otherwise("title"),
        price=pl.when(pl.col("item_id") == "i4").then(-2.0).otherwise("price"),
    )
    bad, found = broken(rows, table, folder, min_interactions=1000, min_users=9, min_items=50)
    assert set(bad) == {
        ("interactions", ""), ("interactions", "user_id"), ("interactions", "item_known"),
        ("interactions", "timestamp"),
        ("interactions", "user_id, timestamp, item_id"), ("items", ""), ("items", "item_id"), ("items", "title"),
        ("items", "price"),
    }  # fmt: skip
    by_place = {(finding.table, finding.column): finding for finding in found if not finding.passed}
    assert by_place["interactions", ""].observed == "161"
    assert "1 of 161 rows" in by_place["interactions", "timestamp"].observed
    assert "-2.0" in by_place["items", "price"].observed
