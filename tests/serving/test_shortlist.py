"""Rankings that are kept: the same answers as from the whole catalogue, for any k and filter; the oldest goes first."""

from __future__ import annotations

import numpy as np
import pytest

from rporec.serving.served import Served
from rporec.serving.shortlist import Shortlist, Shortlists

HEAD = Shortlist(np.array([5, 2, 9]), np.array([0.5, 0.3, 0.1]), whole=False)


def test_filters_take_from_the_head_in_its_order():
    allowed = np.ones(10, dtype=np.bool_)
    allowed[5] = False
    assert HEAD.best(2, None) == [(5, 0.5), (2, 0.3)]
    assert HEAD.best(2, allowed) == [(2, 0.3), (9, 0.1)]


def test_what_the_head_cannot_answer_is_not_answered():
    allowed = np.zeros(10, dtype=np.bool_)
    allowed[[2, 7]] = True
    assert HEAD.best(2, allowed) is None
    assert HEAD.best(4, None) is None


@pytest.mark.parametrize("k", [3, 4])
def test_the_whole_catalogue_answers_with_what_there_is(k: int):
    whole = Shortlist(HEAD.items, HEAD.scores, whole=True)
    assert whole.best(k, None) == [(5, 0.5), (2, 0.3), (9, 0.1)]


def test_the_one_asked_for_longest_ago_goes_first():
    kept = Shortlists(most=2)
    kept.keep(((1,), None), HEAD)
    kept.keep(((2,), None), HEAD)
    assert kept.get(((1,), None)) is HEAD
    kept.keep(((3,), None), HEAD)
    assert kept.get(((2,), None)) is None
    assert kept.get(((1,), None)) is HEAD


def test_a_model_ranks_as_it_does_without_what_is_kept(model: Served) -> None:
    recommender, history = model.recommender, [3, 8]
    probabilities = recommender.probabilities(history, None)
    allowed = np.ones(recommender.catalogue.n, dtype=np.bool_)
    allowed[::2] = False
    for passes in (None, allowed):
        for k in (1, 4, 20):
            expected = recommender.best(probabilities, k, passes)
            assert model.best(history, None, k, passes) == expected
            assert model.best(history, None, k, passes) == expected  # now from what is kept
