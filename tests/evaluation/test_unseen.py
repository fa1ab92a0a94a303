"""Rows that no compared package has trained on: which of tonight's, and which of earlier nights'."""

from pathlib import Path

import polars as pl

from rporec.evaluation import unseen
from rporec.tables import ROWS


def rows(*events: tuple[str, int, list[int], int]) -> pl.DataFrame:
    told = [(n, n, user, when, history, target, "test") for n, (user, when, history, target) in enumerate(events)]
    return pl.DataFrame(told, schema=ROWS.columns, orient="row")


def test_the_first_unseen_second_is_the_latest_of_all_and_unknown_with_a_given_split() -> None:
    assert unseen.first_unseen([{"unseen_from": "10"}, {"unseen_from": "30"}, {"unseen_from": "20"}]) == 30
    assert unseen.first_unseen([{"unseen_from": "10"}, {"unseen_from": ""}]) is None
    assert unseen.first_unseen([{"unseen_from": "10"}, {}]) is None


def test_tonights_rows_that_one_has_trained_on_are_not_fair() -> None:
    tonight = rows(("u", 10, [0], 1), ("u", 20, [0], 1))
    assert unseen.fit_for(tonight, 20).tolist() == [False, True]
    assert unseen.fit_for(tonight, None).tolist() == [True, True]


def test_rows_of_earlier_nights_join_in_tonights_numbering(tmp_path: Path) -> None:
    ids, now = ["a", "b", "c"], ["b", "a", "d"]
    unseen.keep(tmp_path, "one", rows(("u", 10, [0], 1), ("v", 20, [0, 2], 1), ("w", 21, [0], 2)), ids)
    unseen.keep(tmp_path, "two", rows(("v", 20, [0, 2], 1), ("x", 30, [2, 0], 0)), ids)
    tonight = rows(("x", 30, [1], 1), ("y", 40, [0], 2))
    found = unseen.earlier(tmp_path, tonight, now, 15)
    # v's item b is 0 now, its c is gone; x stands among tonight's; w's item is gone; u is too old.
    assert found.select("user_id", "timestamp", "history", "target").rows() == [("v", 20, [1], 0)]
    assert set(found["group"]).isdisjoint(tonight["group"])
    assert found.columns == tonight.columns
    assert unseen.earlier(tmp_path, tonight, now, None).is_empty()
    assert unseen.earlier(tmp_path / "none", tonight, now, 0).is_empty()
