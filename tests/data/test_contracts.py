"""Contracts: good tables pass, each broken one is found, Data Docs read without a network and call nobody."""

import re

import polars as pl
import pytest

from rporec.data import contracts, measures
from tests.data import shop

END = shop.START + 20 * shop.DAY
TABLE = shop.timed_table(shop.steady())
OUTSIDE = re.compile(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:|//)|url\(|@import|<(?:script|link|img|iframe|i)\b""")


def broken(interactions, items, folder, end=END, once=True, **changes):
    params = shop.validate_params(**{"drift_days": 7, "drift_psi": 0.2, "drift_volume": 0.5, **changes})
    found = contracts.check(interactions, items, params, end, folder, once=once)
    return {(finding.table, finding.column) for finding in found if not finding.passed}, found


def pages(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / "docs").rglob("*.*"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contracts")


@pytest.fixture(scope="module")
def good(folder):
    """Findings and pages of good tables."""
    bad, found = broken(TABLE, shop.items(), folder)
    assert bad == set()
    return found, pages(folder)


@pytest.fixture(scope="module")
def bad(folder):
    """Findings and pages of tables that break what they can."""
    late = pl.when(pl.col("order") == 3).then(END).otherwise("timestamp")
    rows = pl.concat([TABLE.with_columns(timestamp=late), TABLE.tail(1)])
    rows = rows.with_columns(item_id=pl.when(pl.col("order") == 5).then(pl.lit("i77")).otherwise("item_id"))
    table = pl.concat([shop.items(), shop.items().head(1)]).with_columns(
        title=pl.when(pl.col("item_id") == "i3").then(pl.lit("")).otherwise("title"),
        price=pl.when(pl.col("item_id") == "i4").then(-2.0).otherwise("price"),
        known_from=pl.when(pl.col("item_id") == "i2").then(END).cast(pl.Int64),
    )
    places, found = broken(rows, table, folder, min_interactions=1000, min_users=9, min_items=50)
    return places, found, pages(folder)


def test_good_tables_pass_and_the_same_tables_give_the_same_bytes(good, tmp_path):
    found, docs = good
    assert {finding.table for finding in found} == {"interactions", "items"}
    assert all(finding.rule for finding in found)
    assert broken(TABLE, shop.items(), tmp_path)[1] == found
    assert pages(tmp_path) == docs, "no run id, time or path"


def test_given_split_passes_without_times(tmp_path):
    assert broken(shop.given_table(shop.SPLIT), shop.items(), tmp_path, end=None)[0] == set()


def test_every_break_is_found(bad):
    places, found, _ = bad
    assert places == {
        ("interactions", ""), ("interactions", "user_id"), ("interactions", "item_id"), ("interactions", "timestamp"),
        ("interactions", "user_id, timestamp, item_id"), ("items", ""), ("items", "item_id"), ("items", "title"),
        ("items", "price"), ("items", "known_from"),
    }  # fmt: skip
    by_place = {(finding.table, finding.column): finding for finding in found if not finding.passed}
    assert by_place["interactions", ""].observed == "161"
    assert "1 of 161 rows" in by_place["interactions", "timestamp"].observed
    assert "'i77' (row 5)" in by_place["interactions", "item_id"].observed, "the id itself, not its measure"
    assert "-2.0" in by_place["items", "price"].observed
    assert f"{END} (row 2)" in by_place["items", "known_from"].observed


def test_missing_ids_and_times_are_found(tmp_path):
    first = pl.col("order") == 0
    holes = [pl.when(~first).then(name).alias(name) for name in ("user_id", "item_id", "timestamp")]
    places, _ = broken(TABLE.with_columns(holes), shop.items(), tmp_path)
    assert places == {("interactions", name) for name in ("user_id", "item_id", "timestamp")}


def test_equal_rows_are_right_where_ingest_keeps_them(tmp_path):
    twice = pl.concat([TABLE, TABLE.tail(1)])
    assert broken(twice, shop.items(), tmp_path, once=False)[0] == set()


def test_a_wrong_type_and_a_split_without_test_are_found(tmp_path):
    given = shop.given_table(shop.SPLIT).filter(pl.col("split") != "test").with_columns(pl.col("order").cast(pl.Int32))
    places, found = broken(given, shop.items(), tmp_path, end=None)
    assert places == {("interactions", "order"), ("interactions", "split")}
    by_place = {finding.column: finding.observed for finding in found if not finding.passed}
    assert by_place == {"order": "Int32", "split": "2"}
    assert {finding.observed for finding in found if finding.column == "price"} >= {"Float64"}


def test_one_day_with_most_of_the_rows_is_no_history(tmp_path):
    rows = [*shop.steady(), *((f"u{u}", f"i{i}", 7 + (u + 8 * i) / 1000) for u in range(8) for i in range(6))]
    many = [(user, item, day + k / 2_000) for user, item, day in rows[160:] for k in range(5)]
    places, found = broken(shop.timed_table([*rows[:160], *many]), shop.items(), tmp_path)
    assert places == {("interactions", "timestamp")}
    assert any("no day holds more than 50%" in finding.rule and not finding.passed for finding in found)


def test_measures_are_numbers_and_flags(tmp_path):
    frame = measures.interaction_measures(TABLE, shop.items())
    assert all(kind.is_numeric() or kind == pl.Boolean for kind in frame.schema.values()), frame.schema
    assert frame["user_code"].n_unique() == 8
    assert measures.day_measures(TABLE).row(0) == ("2023-11-15", 8, 0.05)


@pytest.mark.parametrize("state", ["good", "bad"])
def test_docs_load_nothing_from_outside(state, request):
    docs = request.getfixturevalue(state)[-1]
    suites = ("days", "interactions", "items", "types")
    assert set(docs) == {"index.html", *(f"{kind}_{suite}.html" for kind in ("result", "suite") for suite in suites)}
    for name, text in docs.items():
        assert not OUTSIDE.search(text), f"{name}: {OUTSIDE.search(text)}"
        assert "http" not in text, name
        assert "dataContextId" not in text
        assert re.search(r"<style>[^<]+\.mark", text), name
        for link in re.findall(r'href="([^"#]+)', text):
            assert link in docs, f"{name} links to {link}"
        for anchor in re.findall(r'href="#([^"]+)', text):
            assert f'id="{anchor}"' in text, f"{name} links to #{anchor}"
        for tag in ("button", "onclick", "data-toggle", "Show more info"):
            assert tag not in text, f"{name} has a dead control"


def test_docs_tell_what_passed_and_what_did_not(good, bad):
    found, docs = good
    assert docs["index.html"].count('<span class="mark pass">') == len(found) + 4 + 1  # rules, suites, the verdict
    assert "All rules are kept" in docs["index.html"]
    _, found, docs = bad
    assert f"of {len(found)} rules are broken" in docs["index.html"]
    assert "i77" in docs["index.html"]
    assert '<span class="mark fail">fail</span>' in docs["result_items.html"]
    assert "an item has one row" in docs["suite_items.html"], "rules in words stand beside the library's"
