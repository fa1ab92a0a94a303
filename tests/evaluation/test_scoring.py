"""Groups share scores, reasoning finds its group, shuffled reasoning is never one's own."""

import numpy as np
import polars as pl
import pytest

from rporec.evaluation import scoring
from rporec.evaluation.metrics import rank_targets
from rporec.evaluation.scoring import TestSet, calibration_error, reasoning_of, reliability, shuffle_reasoning, top_mass
from rporec.reasoning.parse import Parsed
from tests.evaluation import toy


def parsed(word: str) -> list[Parsed]:
    return [Parsed(word, word, well_formed=True, outside=0)]


def test_rows_of_a_basket_share_one_group_whatever_their_order() -> None:
    rows = toy.rows(10, users=3).reverse()
    test = TestSet.from_rows(rows)
    assert test.groups == [0, 1, 2, 3, 4]
    assert [test.groups[place] for place in test.group_pos] == rows["group"].to_list()
    assert [test.users[place] for place in test.group_pos] == rows["user_id"].to_list()
    assert [test.histories[place] for place in test.group_pos] == rows["history"].to_list()


def test_ranks_in_chunks_equal_ranks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = toy.rows(40, users=5).sample(fraction=1.0, shuffle=True, seed=3)
    test = TestSet.from_rows(rows)
    table = np.random.default_rng(0).integers(0, 4, (len(test.groups), toy.N)).astype(np.float32)
    whole = rank_targets(table, test.group_pos, test.targets)
    monkeypatch.setattr(scoring, "_GROUPS", 3)
    parts = scoring.rank_rows(test, ["x"], lambda part: {"x": table[part]}, toy.N)["x"]
    assert parts.above.tolist() == whole.above.tolist()
    assert parts.ties.tolist() == whole.ties.tolist()


def test_reasoning_lifts_its_own_rows_and_removing_it_gives_chance() -> None:
    frame, confidence, _ = toy.ranked(toy.rows(24, users=4), toy.rows(24, users=4, start=100, slice_name="fit"))
    told = frame.with_row_index().filter(pl.col("index") % 2 == 0)  # the basket line that the completion names
    whole = told.filter((pl.col("group") % 7) != 6)
    assert whole["rporec_above"].to_list() == [0] * whole.height
    assert whole["rporec_ties"].to_list() == [0] * whole.height
    assert set(frame["reasoning_removed_ties"]) == {toy.N - 1}
    assert frame.filter(pl.col("group") % 7 == 6)["rporec_ties"].to_list() == [toy.N - 1] * 2
    assert ((confidence > 0) & (confidence <= 1)).all()


def test_reasoning_is_matched_by_group_and_absent_is_empty() -> None:
    table = toy.completions(toy.rows(6, users=2), right=True).filter(pl.col("group") != 1)
    found = reasoning_of(table, [2, 1, 0])
    assert [[one.answer for one in samples] for samples in found] == [["item 4"], [], ["item 0"]]


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_reasoning_is_another_users_and_keeps_every_text_once(seed: int) -> None:
    users = ["a"] * 3 + ["b"] * 2 + ["c"] + ["d"] * 2
    given = shuffle_reasoning([parsed(user) for user in users], users, seed)
    assert all(taken[0].thought != user for taken, user in zip(given, users, strict=True))
    assert sorted(taken[0].thought for taken in given) == sorted(users)


def test_shuffling_repeats_with_its_seed_and_differs_with_another() -> None:
    users = [f"u{i}" for i in range(30)]
    reasoning = [parsed(user) for user in users]
    assert shuffle_reasoning(reasoning, users, 1) == shuffle_reasoning(reasoning, users, 1)
    assert shuffle_reasoning(reasoning, users, 1) != shuffle_reasoning(reasoning, users, 2)


def test_a_user_with_most_groups_gets_none_rather_than_his_own() -> None:
    users = ["a", "a", "a", "b"]
    given = shuffle_reasoning([parsed(user) for user in users], users, 0)
    assert all(not taken or taken[0].thought != user for taken, user in zip(given, users, strict=True))
    assert shuffle_reasoning([parsed("a")], ["a"], 0) == [[]]
    assert shuffle_reasoning([], [], 0) == []


def test_the_ten_best_of_ten_are_certain() -> None:
    scores = np.log(np.full((2, 10), 0.1))
    assert top_mass(scores) == pytest.approx([1.0, 1.0])
    assert top_mass(np.log(np.full((1, 40), 1 / 40))) == pytest.approx([0.25])


def test_calibration_by_hand() -> None:
    table = reliability(np.array([0.2, 0.2, 0.9, 0.9]), np.array([0.0, 0.0, 1.0, 1.0]), bins=2)
    assert table["n"].to_list() == [2, 2]
    assert calibration_error(table) == pytest.approx(0.15)
    assert calibration_error(reliability(np.zeros(0), np.zeros(0))) is None
