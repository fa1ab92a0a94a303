"""Packing: every group is read once, inside a carrier that begins with its history."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.rechead.examples import Examples
from rporec.rechead.packing import batches, pack
from tests.rechead import world

HISTORIES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=30)


def of(histories: list[list[int]]) -> Examples:
    count = len(histories)
    return Examples(np.arange(count), [np.array(h) for h in histories], np.arange(count), np.zeros(count, dtype=int))


@settings(deadline=None, max_examples=60)
@given(HISTORIES)
def test_every_group_is_read_once_inside_its_own_history(histories):
    packed = pack(of(histories))
    assert sorted(place for places in packed.groups for place in places) == list(range(len(histories)))
    for carrier, places in zip(packed.carriers, packed.groups, strict=True):
        for place in places:
            assert carrier[: len(histories[place])].tolist() == histories[place]
    longest = {tuple(h) for h in histories if not any(o[: len(h)] == h and len(o) > len(h) for o in histories)}
    assert sorted(tuple(c.tolist()) for c in packed.carriers) == sorted(longest)


def test_batches_hold_every_carrier_once_and_differ_by_epoch():
    examples = Examples.from_rows(world.rows(200, seed=1)).readable()
    packed = pack(examples)
    plans = [batches(packed, 16, seed=1, epoch=epoch) for epoch in (1, 1, 2)]
    for plan in plans:
        assert sorted(np.concatenate(plan).tolist()) == list(range(len(packed.carriers)))
    assert all(np.array_equal(a, b) for a, b in zip(plans[0], plans[1], strict=True))
    assert [part.tolist() for part in plans[0]] != [part.tolist() for part in plans[2]]
    spread = [np.ptp([len(packed.carriers[place]) for place in part]) for part in plans[0]]
    assert max(spread) <= 3
