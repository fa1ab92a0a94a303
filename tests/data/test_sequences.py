"""Rows: histories strictly earlier, baskets whole and without order, one global split, slices old to new."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.data import sequences
from rporec.errors import InputError
from rporec.tables import ROWS, check
from tests.data import shop

END = shop.START + 20 * shop.DAY


def built(rows, **changes):
    return sequences.build(shop.timed_table(rows), shop.items(), shop.sequence_params(**changes), END)


def everything(found):
    return pl.concat(found.parts().values())


def test_split_by_one_global_time_and_contract():
    found = built(shop.steady())
    for rows in found.parts().values():
        check(rows, ROWS, "memory")
    assert found.train["timestamp"].max() < found.cut.valid == END - 6 * shop.DAY
    assert found.valid["timestamp"].max() < found.cut.test <= found.test["timestamp"].min()
    assert found.firsts == 8  # one a user
    assert everything(found).height == 8 * 20 - 8
    assert everything(found)["row_id"].to_list() == list(range(8 * 19))


def test_history_is_the_newest_strictly_earlier_purchases_oldest_first():
    rows = everything(
        built([("a", f"i{k}", d) for d, k in ((0, 5), (1, 4), (2, 3), (3, 2), (4, 1), (5, 0))] + shop.steady())
    )
    mine = rows.filter(pl.col("user_id") == "a").sort("timestamp")
    assert mine["history"].to_list() == [[5], [5, 4], [5, 4, 3], [5, 4, 3, 2], [4, 3, 2, 1]]
    assert mine["target"].to_list() == [4, 3, 2, 1, 0]


BASKETS = [("a", "i0", 1), ("a", "i1", 2), ("a", "i2", 2), ("a", "i3", 2), ("a", "i4", 3), ("a", "i0", 3)]


def test_a_basket_shares_history_and_group():
    rows = everything(built(BASKETS + shop.steady())).filter(pl.col("user_id") == "a")
    second = rows.filter(pl.col("timestamp") == shop.START + 2 * shop.DAY)
    assert second["history"].to_list() == [[0]] * 3
    assert second["group"].n_unique() == 1
    assert sorted(second["target"]) == [1, 2, 3]
    third = rows.filter(pl.col("timestamp") == shop.START + 3 * shop.DAY)
    assert third["history"].n_unique() == 1
    assert third["history"][0][0] == 0
    assert sorted(third["history"][0]) == [0, 1, 2, 3]  # the repeat of i0 is a target, no evidence


def test_order_inside_a_basket_and_in_files_has_no_effect():
    one = everything(built(BASKETS + shop.steady()))
    two = everything(built((BASKETS + shop.steady())[::-1]))
    assert one.equals(two)


def test_a_cut_basket_is_not_cut_by_item_id():
    baskets = [(f"b{u}", f"i{k}", 1 + u / 50) for u in range(40) for k in range(6)]
    later = [(f"b{u}", "i0", 4) for u in range(40)]
    rows = everything(built(baskets + later + shop.steady(), history_length=3))
    mine = rows.filter(pl.col("user_id").str.starts_with("b"))
    kept = mine["history"].explode().value_counts()
    assert kept.height == 6  # every item survives the cut somewhere
    assert kept["count"].max() <= 3 * kept["count"].min()


def test_repeats_off_keeps_first_purchases_only():
    firsts = [(f"v{u}", f"i{k}", 3.5 * k + u / 100) for u in range(6) for k in range(6)]
    again = [(user, "i0", day + 1) for user, _, day in firsts]
    kept, dropped = built(firsts + again), built(firsts + again, repeats=False)
    assert everything(kept).height == 66
    assert everything(dropped).height == 30
    assert dropped.repeats_dropped == 36
    assert not everything(dropped)["history"].list.contains(everything(dropped)["target"]).any()
    given = {**shop.SPLIT, "train": [*shop.SPLIT["train"], ("c", "10", 1)]}
    honoured = sequences.build(shop.given_table(given), shop.items(), shop.sequence_params(repeats=False), None)
    assert honoured.repeats_dropped == 1


def test_slices_old_to_new_with_groups_whole():
    found = built(shop.steady(users=10))
    order = found.train["slice"].to_list()
    assert order == sorted(order, key=["fit", "reason", "align"].index)
    n = found.train.height
    assert abs(order.count("align") - 0.2 * n) <= 1
    assert abs(order.count("reason") - 0.3 * n) <= 1


def test_slices_never_cut_a_group():
    train = pl.DataFrame({"group": [0, 0, 0, 1, 1, 1, 1, 2, 2, 3]})
    named = sequences.slice_train(train, 0.3, 0.2)
    assert named.group_by("group").agg(pl.col("slice").n_unique())["slice"].max() == 1
    assert named["slice"].to_list() == ["fit"] * 3 + ["reason"] * 4 + ["align"] * 3
    with pytest.raises(InputError, match="no train row is left"):
        sequences.slice_train(pl.DataFrame({"group": [0, 0, 0]}), 0.3, 0.2)


def test_given_split_is_honoured_in_its_order():
    found = sequences.build(shop.given_table(shop.SPLIT), shop.items(), shop.sequence_params(history_length=2), None)
    for rows in found.parts().values():
        check(rows, ROWS, "memory")
    assert found.train["target"].to_list() == [1, 3, 2, 0, 2, 4]
    assert found.valid["history"].to_list() == [[1, 2], [0, 2]]  # the newest two
    assert everything(found)["row_id"].to_list() == list(range(10))
    assert everything(found)["group"].to_list() == list(range(10))
    assert found.cut is None


def test_given_rows_of_one_history_are_one_group_and_never_over_parts():
    split = {**shop.SPLIT, "train": [("a", "0", 1), ("b", "2", 3), ("a", "0", 4), *shop.SPLIT["train"][2:]]}
    split["test"] = [("a", "0", 5)]
    found = sequences.build(shop.given_table(split), shop.items(), shop.sequence_params(), None)
    mine = found.train.filter((pl.col("user_id") == "a") & (pl.col("history").list.len() == 1))
    assert mine["target"].to_list() == [1, 4]
    assert mine["group"].to_list() == [0, 0]
    assert found.test["group"][0] not in found.train["group"]


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        ([row for row in shop.steady() if row[2] < 15], {}, "test"),
        ([row for row in shop.steady() if row[2] >= 17], {}, "train"),
        (
            [*((u, i, d) for u, i, d in shop.steady() if u == "u0" or d >= 13)],
            {"valid_days": 3},
            "too few usable users",
        ),
    ],
)
def test_a_part_without_rows_is_refused(rows, changes, words):
    with pytest.raises(InputError, match=words):
        built(rows, **changes)


def test_a_split_by_dates_and_by_shares():
    by_date = built(shop.steady(), split="dates", valid_from="2023-11-25", test_from="2023-11-30")  # days 10 and 15
    assert (by_date.cut.valid, by_date.cut.test) == (shop.START + 10 * shop.DAY, shop.START + 15 * shop.DAY)
    by_share = built(shop.steady(), split="shares", valid_share=0.25, test_share=0.15)
    n = 8 * 20
    times = sorted(shop.START + day * shop.DAY for _, _, day in shop.steady())
    assert by_share.cut.test == int(times[int(n * 0.85)])
    assert by_share.test.height == pytest.approx(0.15 * n, abs=1)
    assert by_share.valid.height == pytest.approx(0.25 * n, abs=1)
    assert by_share.train["timestamp"].max() < by_share.cut.valid


def test_a_k_core_counts_training_interactions_only():
    # i7 is bought twice in train and often in test; v buys only in test; w too seldom once i7 is gone.
    extra = [("u0", "i7", 2), ("w", "i7", 3), ("w", "i0", 4), ("w", "i1", 5)]
    later = [(f"u{k}", "i7", 18 + k / 100) for k in range(6)] + [("v", f"i{k}", 18 + k / 10) for k in range(5)]
    table = shop.timed_table([*shop.steady(), *extra, *later])
    found = sequences.build(table, shop.items(8), shop.sequence_params(core=3), END)
    rows = everything(found)
    assert set(rows["user_id"]) == {f"u{k}" for k in range(8)}
    assert 7 not in set(rows["target"]) | set(rows["history"].explode())
    assert found.outside_core == 4 + 11
    whole = everything(sequences.build(table, shop.items(8), shop.sequence_params(), END))
    assert 7 in set(whole["target"])
    assert {"v", "w"} <= set(whole["user_id"])


def test_a_k_core_of_a_given_split_counts_its_train_rows():
    split = {**shop.SPLIT, "test": [*shop.SPLIT["test"], ("z", "01", 2)]}
    found = sequences.build(shop.given_table(split), shop.items(), shop.sequence_params(core=1), None)
    assert found.outside_core == 0
    more = {"train": [("a", "0", 1), ("a", "01", 2), ("b", "0", 1), ("b", "01", 2), ("c", "0", 5)],
            "valid": [("a", "012", 1), ("a", "0121", 5)], "test": [("b", "012", 2), ("z", "0", 1)]}  # fmt: skip
    cored = sequences.build(shop.given_table(more), shop.items(), shop.sequence_params(core=2), None)
    assert {name: part.height for name, part in cored.parts().items()} == {"train": 4, "valid": 1, "test": 1}
    assert cored.outside_core == 3


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["i0", "i1", "i2", "i3"]), st.integers(0, 9)),
    unique=True, max_size=40,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, length=st.integers(1, 5))
def test_rows_are_those_of_the_definition(events, length):
    """Against the definition, row by row: the newest `length` purchases strictly before, as a multiset where cut."""
    base = shop.steady(users=3)
    found = everything(built([*base, *events], history_length=length))
    rows = sorted(set(base) | set(events), key=lambda row: row[2])
    expected = 0
    for user, item, day in rows:
        before = [row for row in rows if row[0] == user and row[2] < day]
        if not before:
            continue
        expected += 1
        mine = found.filter(
            (pl.col("user_id") == user)
            & (pl.col("timestamp") == int(shop.START + day * shop.DAY))
            & (pl.col("target") == int(item[1:]))
        )
        assert mine.height == 1
        history = mine["history"][0].to_list()
        assert len(history) == min(length, len(before))
        for place, held in enumerate(reversed(history)):  # each stands within the basket of its place
            basket = before[-1 - place][2]
            assert held in {int(row[1][1:]) for row in before if row[2] == basket}
    assert found.height == expected
