"""Rows become groups with one history and several targets."""

import numpy as np

from rporec.rechead.examples import Examples
from tests.rechead import world


def test_groups_keep_their_rows():
    rows = world.rows(50, seed=1)
    examples = Examples.from_rows(rows.sample(fraction=1.0, shuffle=True, seed=2))
    assert len(examples) == 50
    for row in rows.iter_rows(named=True):
        place = int(np.searchsorted(examples.groups, row["group"]))
        assert examples.histories[place].tolist() == row["history"]
        assert row["target"] in examples.targets[examples.owner == place]
    assert examples.longest == world.H


def test_take_keeps_whole_groups():
    examples = Examples.from_rows(world.rows(20, seed=1))
    part = examples.take([3, 7])
    assert part.groups.tolist() == [examples.groups[3], examples.groups[7]]
    assert part.targets.tolist() == examples.targets[np.isin(examples.owner, [3, 7])].tolist()
    assert sorted(set(part.owner.tolist())) == [0, 1]


def test_readable_drops_empty_histories_and_sample_is_spread():
    examples = Examples(
        np.array([4, 6]), [np.array([], dtype=int), np.array([1])], np.array([0, 1, 1]), np.array([1, 2, 3])
    )
    kept = examples.readable()
    assert kept.groups.tolist() == [6]
    assert kept.targets.tolist() == [2, 3]
    assert len(Examples.from_rows(world.rows(50, seed=1)).sample(10)) == 10
    assert examples.sample(10) is examples
