"""Cleaning: bounded in time, every bad row in quarantine with its reason, none lost, order of files without effect."""

import dataclasses
import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.data.clean import clean
from rporec.data.clean_interactions import LATEST
from rporec.errors import InputError
from rporec.tables import INTERACTIONS, ITEMS, QUARANTINE, check
from tests.data import shop

GOOD = shop.steady(users=4, days=10)


NOW = LATEST - 1


def cleaned(rows, table=None, now=NOW, **changes):
    return clean(shop.raw(rows, table), shop.ingest_params(**changes), now)


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
    assert found.counts["interactions"] == {
        "rows_read": len(GOOD) + 1, "outside": {"after_as_of": 0, "before_window": 0}, "rows_in": len(GOOD) + 1,
        "kept": len(GOOD), "quarantined": {reason: 1},
    }  # fmt: skip
    if reason != "duplicate":
        assert found.quarantine["row"].to_list() == [len(GOOD)]


def date(day):
    """The UTC date of a day of the shop."""
    return dt.datetime.fromtimestamp(shop.START + day * shop.DAY, tz=dt.UTC).date().isoformat()


def test_as_of_leaves_no_trace_of_the_future():
    bound = shop.START + 5 * shop.DAY
    before = cleaned([row for row in GOOD if row[2] < 5], as_of=date(5))
    after = cleaned(with_rows(("u9", "i77", bound), ("u9", "i0", LATEST - 1)), as_of=date(5))
    assert after.interactions.equals(before.interactions)
    assert after.quarantine.equals(before.quarantine)
    assert after.end == before.end == bound
    counts = after.counts["interactions"]
    assert counts["outside"] == {"after_as_of": 22, "before_window": 0}
    assert counts["rows_read"] == counts["kept"] + 22


def test_a_window_keeps_the_newest_days():
    found = cleaned(GOOD, as_of=date(9), window_days=3)
    assert found.interactions["timestamp"].min() == shop.START + 6 * shop.DAY
    assert found.counts["interactions"]["outside"] == {"after_as_of": 4, "before_window": 24}
    newest = cleaned(with_rows(("u", "i0", None), ("u", "i0", LATEST)), window_days=3)
    assert newest.interactions["timestamp"].min() == shop.START + 7 * shop.DAY  # counted from the newest good row
    assert newest.end == shop.START + 10 * shop.DAY
    assert newest.quarantine.height == 2


def test_a_clock_that_is_ahead_is_quarantined_except_in_a_simulation():
    now = shop.START + 20 * shop.DAY
    rows = with_rows(("u", "i0", now), ("u", "i1", now + 3_600))
    found = cleaned(rows, now=now)
    assert found.quarantine["reason"].to_list() == ["timestamp_in_future"]
    simulated = clean(shop.raw(rows, simulated=True), shop.ingest_params(), now)
    assert simulated.quarantine.is_empty()


@pytest.mark.parametrize(
    ("rating", "reason"),
    [(0.5, "rating_out_of_range"), (5.5, "rating_out_of_range"), (float("nan"), "rating_unreadable"), (None, None)],
)
def test_ratings_have_a_range(rating, reason):
    rows = shop.events(GOOD).with_columns(
        rating=pl.when(pl.int_range(pl.len()) == 3).then(rating).otherwise(3.0).cast(pl.Float64)
    )
    found = cleaned(rows, rating_min=1.0)
    assert found.quarantine["reason"].to_list() == ([reason] if reason else [])


@pytest.mark.parametrize(("rule", "twins"), [("event", 1), ("day", 3), ("keep", 0)])
def test_duplicates_by_the_rule_of_the_params(rule, twins):
    at = shop.START + 20 * shop.DAY
    rows = [("u", "i0", at), ("u", "i0", at), ("u", "i0", at + 60), ("u", "i0", at + 120), ("u", "i0", at + shop.DAY)]
    found = cleaned(with_rows(*rows), duplicates=rule)
    assert found.quarantine["reason"].to_list() == ["duplicate"] * twins
    assert found.interactions.height == len(GOOD) + 5 - twins


def test_a_bad_row_is_no_twin_that_a_good_one_could_have():
    rows = shop.events([*GOOD, ("u", "i0", 30), ("u", "i0", 30)])
    rating = pl.when(pl.int_range(pl.len()) == len(GOOD)).then(9.0).otherwise(3.0)
    found = cleaned(rows.with_columns(rating=rating))
    assert found.quarantine["reason"].to_list() == ["rating_out_of_range"]
    assert found.interactions.height == len(GOOD) + 1


def test_ids_that_look_alike_are_kept_apart_and_warned_of():
    rows = with_rows(("U0", "i0", shop.START), ("u0 ", "i0", shop.START), ("u1", "i0", shop.START + 5))
    found = cleaned(rows)
    assert {"U0", "u0 ", "u0"} <= set(found.interactions["user_id"])
    assert any("3 user ids differ only by spaces or case" in warning for warning in found.warnings)
    assert cleaned(GOOD).warnings == []


def test_rows_of_a_quarantined_item_say_so():
    table = shop.items().with_columns(pl.when(pl.col("item_id") != "i3").then(pl.col("title", "brand", "category")))
    found = cleaned(GOOD, table)
    assert found.counts["items"]["quarantined"] == {"no_text": 1}
    assert set(found.counts["interactions"]["quarantined"]) == {"item_in_quarantine"}
    assert "i3" not in found.interactions["item_id"]


def version(title, day, item="i0"):
    since = None if day is None else shop.START + day * shop.DAY
    return shop.items(1).with_columns(item_id=pl.lit(item), title=pl.lit(title), known_from=pl.lit(since, pl.Int64))


def test_item_rows_are_bound_in_time_and_the_version_that_holds_is_kept():
    table = pl.concat(
        [shop.items(), version("old", 1), version("new", 6), version("future", 9), version("late", 9, "i9")]
    )
    found = cleaned(GOOD, table, as_of=date(8))
    assert found.items.filter(pl.col("item_id") == "i0")["title"].to_list() == ["new"]
    assert found.items.filter(pl.col("item_id") == "i0")["known_from"].to_list() == [shop.START + 6 * shop.DAY]
    assert found.counts["items"]["outside"] == {"after_as_of": 2, "other_version": 2}
    lagged = cleaned(GOOD, table, as_of=date(8), item_lag_days=4).items
    assert lagged.filter(pl.col("item_id") == "i0")["title"].to_list() == ["old"]
    later = cleaned(GOOD, pl.concat([shop.items(), version("a", 6, "i9"), version("b", 7, "i9")]), as_of=date(8),
                    item_lag_days=5)  # fmt: skip
    assert later.items.filter(pl.col("item_id") == "i9")["title"].to_list() == ["a"]  # as it first stood


def test_a_user_with_very_many_rows_is_one_user():
    n = 300_000
    bot = pl.DataFrame({"user_id": ["bot"] * n, "item_id": [f"i{k % 6}" for k in range(n)],
                        "timestamp": [shop.START + k for k in range(n)]})  # fmt: skip
    found = cleaned(pl.concat([shop.events(GOOD), bot]))
    assert found.interactions.height == len(GOOD) + n


def test_lines_of_a_basket_share_their_order_and_time_rules():
    rows = [("b", "i1", 2), ("a", "i0", 1), ("b", "i0", 2), ("a", "i3", 2), ("a", "i1", 3), ("b", "i2", 4)]
    found = cleaned(rows).interactions
    assert found.select("user_id", "item_id", "order").rows() == [
        ("a", "i0", 0), ("a", "i3", 1), ("b", "i0", 2), ("b", "i1", 2), ("a", "i1", 3), ("b", "i2", 4),
    ]  # fmt: skip


def test_a_given_split_keeps_file_order_and_equal_rows(tmp_path):
    split = {**shop.SPLIT, "train": [*shop.SPLIT["train"], ("e", "55", 5), ("e", "55", 5)]}
    raw = shop.read_folder(shop.write_given(tmp_path, split))
    found = clean(raw, shop.ingest_params(quarantine_max_share=0.0), NOW)
    assert found.interactions["order"].to_list() == list(range(12))
    assert found.interactions["split"].to_list() == ["train"] * 8 + ["valid"] * 2 + ["test"] * 2
    assert found.items["category"].to_list() == [""] * 6
    assert found.items["price"].is_null().all()


def test_a_given_split_names_bad_histories(tmp_path):
    bad = [("f", "", 1), ("f", "09", 1), ("f", "0", 9)]
    raw = shop.read_folder(shop.write_given(tmp_path, {**shop.SPLIT, "test": [*shop.SPLIT["test"], *bad]}))
    found = clean(raw, shop.ingest_params(), NOW)
    assert sorted(found.quarantine["reason"]) == ["history_empty", "unknown_history_item", "unknown_item"]
    assert found.interactions.height == 10


def test_items_twice_empty_or_without_text():
    twin = pl.DataFrame(
        {"item_id": ["i0", None, "i8"], "title": ["another", "x", None], "description": ["", "", " "],
         "brand": [""] * 3, "category": [""] * 3, "price": [1.0, 1.0, 1.0],
         "known_from": [None] * 3}, schema=ITEMS.columns,
    )  # fmt: skip
    table = pl.concat([shop.items(), twin])
    one, two = cleaned(GOOD, table), cleaned(GOOD, table.reverse())
    assert sorted(one.quarantine["reason"]) == ["duplicate_item", "item_id_empty", "no_text"]
    assert one.items.equals(two.items)
    assert one.items.height == 6


def test_impossible_prices_are_dropped_and_counted():
    table = shop.items().with_columns(price=pl.Series([-1.0, float("nan"), float("inf"), None, 0.0, 2e6]))
    found = cleaned(GOOD, table)
    assert found.items["price"].to_list() == [None, None, None, None, 0.0, None]
    assert found.counts["prices_dropped"] == {"negative": 1, "not_a_number": 2, "above_price_max": 1}
    assert any("prices count as unknown" in warning for warning in found.warnings)


def test_too_many_bad_rows_stop_and_show_one():
    rows = with_rows(*[("u", "i77", shop.START)] * 10)
    with pytest.raises(InputError, match="quarantine_max_share") as caught:
        cleaned(rows, quarantine_max_share=0.1)
    for part in ("10 of 50", "unknown_item", "i77", "value: 0.2"):
        assert part in caught.value.message()
    assert cleaned(rows, quarantine_max_share=0.2).quarantine.height == 10


@pytest.mark.parametrize("rows", [[("a", "i0", 1), ("a", "i1", 2)], [("a", "i0", 1), ("b", "i1", 2), ("b", "i2", 2)]])
def test_fewer_than_two_usable_users(rows):
    with pytest.raises(InputError, match="too few usable users"):
        cleaned(rows)


def test_nothing_before_as_of():
    with pytest.raises(InputError, match=r"ingest\.as_of"):
        cleaned(GOOD, as_of=date(0))


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


def test_times_of_another_unit_are_seen_whatever_the_bounds():
    wrong = [("u", "i0", (shop.START + k) * 1000) for k in range(6)] + [("u", "i0", 0)]
    for bounds in ({}, {"as_of": date(9)}, {"as_of": date(9), "window_days": 5}):
        found = cleaned(with_rows(*wrong), **bounds)
        assert found.counts["interactions"]["quarantined"] == {"timestamp_out_of_range": 7}


def test_a_window_counts_from_the_newest_good_row():
    found = cleaned(with_rows(("u", "i77", shop.START + 30 * shop.DAY)), window_days=5)
    assert found.interactions["timestamp"].min() == shop.START + 5 * shop.DAY
    assert found.quarantine["reason"].to_list() == ["unknown_item"]


@pytest.mark.parametrize(
    ("since", "note", "reason"),
    [
        (None, "known_from '31/12/2099'", "known_from_unreadable"),
        (None, "price 'x'; known_from (column valid_since) 'soon'", "known_from_unreadable"),
        (None, "price 'known_from'", None),
        ((shop.START + shop.DAY) * 1000, None, "known_from_out_of_range"),
        (20_991_231, None, "known_from_out_of_range"),
    ],
)
def test_when_an_item_came_to_be_known_is_judged(since, note, reason):
    first = pl.col("item_id") == "i5"
    table = shop.items().with_columns(known_from=pl.when(first).then(pl.lit(since, dtype=pl.Int64)))
    raw = shop.raw(GOOD, table)
    noted = raw.items.with_columns(note=pl.when(first).then(pl.lit(note, dtype=pl.String)))
    found = clean(dataclasses.replace(raw, items=noted), shop.ingest_params(as_of=date(9)), NOW)
    assert found.counts["items"]["quarantined"] == ({reason: 1} if reason else {})


def test_items_of_a_split_without_times_are_bound_and_the_rest_is_said(tmp_path):
    raw = shop.read_folder(shop.write_given(tmp_path))
    late = raw.items.with_columns(known_from=pl.when(pl.col("item_id") == "i5").then(shop.START + 9 * shop.DAY))
    found = clean(dataclasses.replace(raw, items=late), shop.ingest_params(as_of=date(3)), NOW)
    assert found.counts["items"]["outside"]["after_as_of"] == 1
    assert any("bounds the item rows alone" in warning for warning in found.warnings)
    assert found.end is None


def test_which_twin_stays_hangs_on_content():
    rows = shop.events([*GOOD, ("u", "i0", 30), ("u", "i0", 30)])
    low = pl.int_range(pl.len()) == len(GOOD)
    for rating in (pl.when(low).then(1.0).otherwise(3.0), pl.when(low).then(3.0).otherwise(1.0)):
        frame = rows.with_columns(rating=rating)
        raw = cleaned(frame).quarantine["raw"].to_list()
        assert len(raw) == 1
        assert '"rating":3.0' in raw[0]


def test_a_table_without_rows_or_items_is_named():
    with pytest.raises(InputError, match="the source has no interactions") as caught:
        cleaned([])
    assert "as_of" not in caught.value.message()
    with pytest.raises(InputError, match="no item row can be used"):
        cleaned(GOOD, shop.items(0))
