"""Cleaning: bounded in time, every bad row in quarantine with its reason, none lost, order of files without effect."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.data.clean import LATEST, clean
from rporec.data.folder import FolderSource
from rporec.data.sources import find_layout
from rporec.errors import InputError
from rporec.tables import INTERACTIONS, ITEMS, QUARANTINE, check
from tests.data import shop

GOOD = shop.steady(users=4, days=10)


def cleaned(rows, table=None, as_of=None, max_share=1.0):
    return clean(shop.raw(rows, table), as_of, max_share)


def with_rows(*rows):
    extra = pl.DataFrame(
        {"user_id": [r[0] for r in rows], "item_id": [r[1] for r in rows], "timestamp": [r[2] for r in rows]},
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64},
    )
    return pl.concat([shop.events(GOOD), extra])


def test_good_rows_pass_and_tables_keep_their_contracts():
    found = cleaned(GOOD)
    for table, frame in ((INTERACTIONS, found.interactions), (ITEMS, found.items), (QUARANTINE, found.quarantine)):
        check(frame, table, "memory")
    assert found.quarantine.is_empty()
    assert found.interactions.height == len(GOOD)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, "i0", shop.START), "user_id_empty"),
        ((" ", "i0", shop.START), "user_id_empty"),
        (("u", None, shop.START), "item_id_empty"),
        (("u", "", shop.START), "item_id_empty"),
        (("u", "i0", None), "timestamp_missing"),
        (("u", "i0", -1), "timestamp_out_of_range"),
        (("u", "i0", LATEST), "timestamp_out_of_range"),
        (("u", "i77", shop.START), "unknown_item"),
        (("u0", "i0", shop.START), "duplicate"),  # GOOD holds it
    ],
)
def test_each_bad_row_has_its_reason(row, reason):
    found = cleaned(with_rows(row))
    assert found.quarantine["reason"].to_list() == [reason]
    assert found.interactions.height == len(GOOD)
    assert found.counts["interactions"] == {"rows_in": len(GOOD) + 1, "kept": len(GOOD), "quarantined": {reason: 1}}
    if reason != "duplicate":
        assert found.quarantine["row"].to_list() == [len(GOOD)]


def test_as_of_leaves_no_trace_of_the_future():
    bound = shop.START + 5 * shop.DAY
    before = cleaned([row for row in GOOD if row[2] < 5], as_of=bound)
    future = with_rows(("u9", "i77", bound), ("u9", "i0", LATEST))
    after = clean(shop.raw(future), bound, 1.0)
    assert after.interactions.equals(before.interactions)
    assert after.quarantine.equals(before.quarantine)
    assert after.counts == before.counts


def test_lines_of_a_basket_share_their_order_and_time_rules():
    rows = [("b", "i1", 2), ("a", "i0", 1), ("b", "i0", 2), ("a", "i3", 2), ("a", "i1", 3), ("b", "i2", 4)]
    found = cleaned(rows).interactions
    assert found.select("user_id", "item_id", "order").rows() == [
        ("a", "i0", 0), ("a", "i3", 1), ("b", "i0", 2), ("b", "i1", 2), ("a", "i1", 3), ("b", "i2", 4),
    ]  # fmt: skip


def test_a_given_split_keeps_file_order_and_equal_rows(tmp_path):
    split = {**shop.SPLIT, "train": [*shop.SPLIT["train"], ("e", "55", 5), ("e", "55", 5)]}
    raw = FolderSource(find_layout(shop.write_given(tmp_path, split))).read()
    found = clean(raw, None, 0.0)
    assert found.interactions["order"].to_list() == list(range(12))
    assert found.interactions["split"].to_list() == ["train"] * 8 + ["valid"] * 2 + ["test"] * 2
    assert found.items["category"].to_list() == [""] * 6
    assert found.items["price"].is_null().all()


def test_a_given_split_names_bad_histories(tmp_path):
    bad = [("f", "", 1), ("f", "09", 1), ("f", "0", 9)]
    raw = FolderSource(
        find_layout(shop.write_given(tmp_path, {**shop.SPLIT, "test": [*shop.SPLIT["test"], *bad]}))
    ).read()
    found = clean(raw, None, 1.0)
    assert sorted(found.quarantine["reason"]) == ["history_empty", "unknown_history_item", "unknown_item"]
    assert found.interactions.height == 10


def test_items_twice_empty_or_without_text():
    twin = pl.DataFrame(
        {"item_id": ["i0", None, "i8"], "title": ["another", "x", None], "description": ["", "", " "],
         "brand": [""] * 3, "category": [""] * 3, "price": [1.0, 1.0, 1.0]}, schema=ITEMS.columns,
    )  # fmt: skip
    table = pl.concat([shop.items(), twin])
    one, two = cleaned(GOOD, table), cleaned(GOOD, table.reverse())
    assert sorted(one.quarantine["reason"]) == ["duplicate_item", "item_id_empty", "no_text"]
    assert one.items.equals(two.items)
    assert one.items.height == 6


def test_impossible_prices_are_dropped_and_counted():
    table = shop.items().with_columns(price=pl.Series([-1.0, float("nan"), float("inf"), None, 0.0, 2.0]))
    found = cleaned(GOOD, table)
    assert found.items["price"].to_list() == [None, None, None, None, 0.0, 2.0]
    assert found.counts["prices_dropped"] == 3


def test_too_many_bad_rows_stop_and_show_one():
    rows = with_rows(*[("u", "i77", shop.START)] * 10)
    with pytest.raises(InputError, match="quarantine_max_share") as caught:
        cleaned(rows, max_share=0.1)
    for part in ("10 of 50", "unknown_item", "i77", "value: 0.2"):
        assert part in caught.value.message()
    assert cleaned(rows, max_share=0.2).quarantine.height == 10


@pytest.mark.parametrize("rows", [[("a", "i0", 1), ("a", "i1", 2)], [("a", "i0", 1), ("b", "i1", 2), ("b", "i2", 2)]])
def test_fewer_than_two_usable_users(rows):
    with pytest.raises(InputError, match="too few usable users"):
        cleaned(rows)


def test_nothing_before_as_of():
    with pytest.raises(InputError, match=r"ingest\.as_of"):
        cleaned(GOOD, as_of=shop.START)


IDS = st.sampled_from(["a", "b", "c", "", " ", None, "i0", "i1", "i5", "i77", "ü\x00"])
TIMES = st.one_of(st.none(), st.integers(-5, 5), st.integers(LATEST - 2, 2**62))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(IDS, IDS, TIMES), max_size=12), seed=st.randoms())
def test_no_row_is_lost_and_order_has_no_effect(rows, seed):
    frame = with_rows(*rows)
    found = cleaned(frame)
    assert found.interactions.height + found.quarantine.height == frame.height
    shuffled = list(range(frame.height))
    seed.shuffle(shuffled)
    again = cleaned(frame[shuffled])
    assert again.interactions.equals(found.interactions)
    assert again.counts == found.counts
