"""Counts by event: a basket counts once, and a row's own event leaves no trace."""

from rporec.reasoning.evidence import FollowCounts

EVENTS = [([1, 2], [3, 3, 4]), ([2], [3]), ([9, 2, 2], [4])]


def test_an_event_counts_once_and_only_the_last_three_items_reach():
    counts = FollowCounts.fit([*EVENTS, ([7, 1, 1, 1], [5])])
    assert counts.after(2) == {3: 2, 4: 2}
    assert counts.after(1) == {3: 1, 4: 1, 5: 1}
    assert counts.after(7) == {}
    assert counts.after(100) == {}


def test_without_its_own_event_the_counts_are_those_of_the_other_events():
    counts = FollowCounts.fit(EVENTS)
    for place, (history, targets) in enumerate(EVENTS):
        others = FollowCounts.fit([event for number, event in enumerate(EVENTS) if number != place])
        for item in history:
            assert counts.after(item, targets) == others.after(item)


def test_nothing_is_taken_out_for_rows_that_were_never_counted():
    counts = FollowCounts.fit(EVENTS)
    assert counts.for_unseen().after(2, [3, 4]) == counts.after(2) == {3: 2, 4: 2}
    assert counts.after(2, [3, 4]) == {3: 1, 4: 1}
