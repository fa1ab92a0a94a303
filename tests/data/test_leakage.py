"""The leak audit: planted leaks stop and are named, honest repeats are counted."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest

from rporec.data import leakage, sequences
from rporec.errors import InputError
from tests.data import shop

END = shop.START + 20 * shop.DAY
TIMED = shop.timed_table(shop.steady())


@pytest.fixture
def found():
    return sequences.build(TIMED, shop.items(), shop.sequence_params(), END)


def audit(found, interactions, items):
    """Audit and refuse, as the stage does."""
    result = leakage.audit(found, interactions, items)
    leakage.refuse(result, Path("leakage.json"))
    assert result.passed
    return result


def audit_given(split, **changes):
    table = shop.given_table(split)
    return audit(sequences.build(table, shop.items(), shop.sequence_params(**changes), None), table, shop.items())


def test_an_honest_split_passes_and_is_counted(found):
    result = audit(found, TIMED, shop.items())
    rows = {check.name: check.rows for check in result.checks}
    assert rows == {
        "row_ids": 152, "groups": 152, "split_times": 152, "item_features": 6, "histories": 152, "events": 152
    }  # fmt: skip
    assert result.report()["passed"]
    test = result.recurrences["test"]
    assert test["rows"] == found.test.height
    assert test["targets_never_in_train"] == 0
    assert test["users_not_in_train"] == 0
    assert test["history_and_target_in_train_share"] == 1.0  # everybody walks the same circle


def test_never_seen_targets_and_users_are_counted():
    result = audit_given(shop.SPLIT)
    assert result.recurrences["valid"]["targets_never_in_train"] == 1  # i5
    split = {**shop.SPLIT, "test": [("z", "01", 2), ("b", "23", 1)]}
    test = audit_given(split).recurrences["test"]
    assert test["users_not_in_train"] == 1
    assert test["history_and_target_in_train"] == 1  # the same purchase by another user is no leak


def test_a_training_row_at_the_split_time_stops(found):
    late = found.train.with_columns(
        timestamp=pl.when(pl.col("row_id") == 3).then(found.cut.valid).otherwise("timestamp")
    )
    with pytest.raises(InputError, match="leak: 1 rows of train lie on the wrong side") as caught:
        audit(dataclasses.replace(found, train=late), TIMED, shop.items())
    assert "row 3: user" in caught.value.message()
    assert "cure:" in caught.value.message()


def test_a_history_that_is_not_strictly_before_stops(found):
    target = found.test["target"][0]
    peeking = found.test.with_columns(
        history=pl.when(pl.col("row_id") == found.test["row_id"][0])
        .then(pl.lit([target], dtype=pl.List(pl.Int32)))
        .otherwise("history")
    )
    rows = [
        row
        for row in shop.steady()
        if not (row[0] == found.test["user_id"][0] and row[1] == f"i{target}" and row[2] < 17)
    ]
    with pytest.raises(InputError, match="not strictly before"):
        audit(dataclasses.replace(found, test=peeking), shop.timed_table(rows), shop.items())


def test_an_event_in_train_and_test_stops(found):
    twice = found.test.head(1).with_columns(row_id=pl.lit(10_000, dtype=pl.Int64), group=pl.lit(10_000, dtype=pl.Int64))
    result = leakage.audit(
        dataclasses.replace(found, train=pl.concat([found.train, twice.with_columns(slice=pl.lit("align"))])),
        TIMED, shop.items(),
    )  # fmt: skip
    bad = {check.name: check for check in result.checks if check.bad}
    assert set(bad) == {"split_times", "events"}
    assert bad["events"].problem == "1 events of test stand in train too"
    assert not result.report()["passed"]


def test_item_rows_of_a_later_time_stop_when_the_item_was_sold_before(found):
    def items(day, item):
        since = pl.when(pl.col("item_id") == item).then(shop.START + day * shop.DAY)
        return shop.items(7).with_columns(known_from=since.cast(pl.Int64))

    assert leakage.audit(found, TIMED, items(13, "i3")).passed
    assert leakage.audit(found, TIMED, items(15, "i6")).passed  # new: nobody bought it before the split
    late = leakage.audit(found, TIMED, items(14, "i3"))
    with pytest.raises(InputError, match="1 items of train are described by rows of a later time") as caught:
        leakage.refuse(late, Path("leakage.json"))
    assert "i3" in caught.value.message()
    assert "item_lag_days" in caught.value.message()


def test_a_group_over_two_slices_stops(found):
    shared = found.valid.with_columns(
        group=pl.when(pl.col("row_id") == pl.col("row_id").min()).then(0).otherwise("group")
    )
    with pytest.raises(InputError, match="share a group"):
        audit(dataclasses.replace(found, valid=shared), TIMED, shop.items())


@pytest.mark.parametrize(("part", "row"), [("test", ("d", "34", 2)), ("valid", ("c", "102", 5))])
def test_an_identical_row_in_train_stops_and_is_named(part, row):
    split = {**shop.SPLIT, "train": [*shop.SPLIT["train"], row]}
    with pytest.raises(InputError, match=f"1 rows of {part} stand in train") as caught:
        audit_given(split)
    message = caught.value.message()
    assert f"user {row[0]}" in message
    assert f"target i{row[2]}" in message
    assert "remove these rows from train" in message


def test_identity_is_of_whole_histories_not_of_their_ends():
    split = {**shop.SPLIT, "test": [("a", "4501", 2), ("d", "34", 2)]}  # train holds a: 01 -> 2
    found = audit_given(split, history_length=2)
    assert {check.name: check.bad for check in found.checks}["identical_rows"] == 0


def test_one_item_over_and_over_fills_the_window_by_right():
    again = ("r", "55555", 5)
    split = {**shop.SPLIT, "train": [*shop.SPLIT["train"], again], "test": [again, ("d", "34", 2)]}
    audit_given(split)
    shorter = ("r", "55", 5)  # here the place in the user's life is known: it is the same event
    split = {
        **shop.SPLIT,
        "train": [*shop.SPLIT["train"], shorter, ("a", "0123", 4)],
        "test": [shorter, ("d", "34", 2)],
    }
    with pytest.raises(InputError, match="stand in train"):
        audit_given(split)


def test_a_training_history_that_holds_a_test_event_stops():
    split = {**shop.SPLIT, "train": [*shop.SPLIT["train"], ("d", "342", 5)]}
    with pytest.raises(InputError, match="events of test stand inside histories of train") as caught:
        audit_given(split)
    assert "user d" in caught.value.message()
    # At the longest history too, when hardly anybody's is that long: nothing was cut there.
    train = [("a", "012", 3), ("b", "0", 1), ("c", "0", 2), ("d", "0", 3), ("e", "0", 4), ("f", "0", 1)]
    with pytest.raises(InputError, match="1 events of test stand inside"):
        audit_given({"train": train, "valid": [("b", "01", 2)], "test": [("a", "01", 2)]})


def timed(split, times):
    """A given split with the time of each row, in seconds from the start."""
    return shop.given_table(split).with_columns(timestamp=pl.Series([shop.START + t for t in times], dtype=pl.Int64))


def test_a_given_split_with_times_lies_in_time():
    def found(times, items=None):
        table = timed(shop.SPLIT, times)
        params = shop.sequence_params(reason_share=0.2, align_share=0.2)
        items = shop.items() if items is None else items
        return leakage.audit(sequences.build(table, items, params, None), table, items)

    honest = [0, 1, 2, 3, 4, 5, 5, 6, 7, 8]  # the last of train and the first of valid in one second
    assert found(honest).passed
    assert {"split_times", "item_features"} <= {check.name for check in found(honest).checks}
    late = found([*honest[:5], 9, *honest[6:]])
    assert next(check.problem for check in late.checks if check.bad).startswith("1 rows of train are later than")
    since = pl.when(pl.col("item_id") == "i1").then(shop.START + 6).otherwise(None)
    new = found(honest, shop.items().with_columns(known_from=since))
    assert [check.name for check in new.checks if check.bad] == ["item_features"]
