"""The desk and its parts: budgets, filters, what is found, explanations, new items, limits."""

from __future__ import annotations

import threading

import numpy as np
import polars as pl
import pytest

from infra import children
from rporec import tables
from rporec.errors import InputError
from rporec.serving.desk import Ask, Desk, UnknownUserError
from rporec.serving.extend import extend
from rporec.serving.fill import user_histories
from rporec.serving.filters import Filters, allowed
from rporec.serving.find import Finder
from rporec.serving.limits import Rate, Room
from rporec.serving.live import LiveWriter
from rporec.serving.served import Served
from rporec.serving.shadow import order_agreement
from rporec.serving.store import NewItem, Store, StoreError
from rporec.serving.store_redis import RedisStore
from rporec.serving.store_sqlite import SqliteStore


@pytest.fixture
def kept(tmp_path):
    store = SqliteStore(tmp_path / "serving.db")
    yield store
    store.close()


def test_what_comes_too_late_is_kept_for_the_next_request(model: Served, kept: Store, monkeypatch) -> None:
    """A writer that is held up until the request has gone on without it."""
    go, write = threading.Event(), model.recommender.write_reasoning
    calls = []

    def slow(histories):
        calls.append(len(histories))
        go.wait(60)
        return write(histories)

    monkeypatch.setattr(model.recommender, "write_reasoning", slow)
    live = LiveWriter(kept, seconds=0.2)
    desk = Desk(kept, live)
    first = desk.answer(model, [Ask(("i01", "i02"))])[0]
    assert (first.source, first.reasoning, first.ranking) == ("none", None, "rechead")
    expected = model.recommender.best(model.recommender.probabilities([1, 2], None), 4)
    assert first.items == expected
    go.set()
    live.close()
    late = Desk(kept, LiveWriter(kept, seconds=0.0)).answer(model, [Ask(("i01", "i02"))])[0]
    assert (late.source, calls) == ("stored", [1])


def test_no_time_budget_means_no_writing(model: Served, kept: Store, monkeypatch) -> None:
    monkeypatch.setattr(model.recommender, "write_reasoning", lambda _: pytest.fail("it wrote"))
    answer = Desk(kept, LiveWriter(kept, seconds=0.0)).answer(model, [Ask(("i03",))])[0]
    assert answer.source == "none"


def test_a_store_that_is_away_costs_the_stored_reasoning_only(model: Served) -> None:
    away = RedisStore(f"redis://127.0.0.1:{children.free_port()}/0")
    live = LiveWriter(away, seconds=60.0)
    desk = Desk(away, live)
    answer = desk.answer(model, [Ask(("i01", "i02"))])[0]
    assert answer.source == "live"
    with pytest.raises(StoreError):
        desk.answer(model, [Ask(None, user_id="ann")])
    live.close()


def test_a_broken_completion_is_stored_and_not_read(model: Served, kept: Store, monkeypatch) -> None:
    from rporec.reasoning.parse import parse

    calls = []
    broken = parse("<think>cut off")
    monkeypatch.setattr(model.recommender, "write_reasoning", lambda some: calls.append(1) or [broken for _ in some])
    live = LiveWriter(kept, seconds=60.0)
    for _ in range(2):
        answer = Desk(kept, live).answer(model, [Ask(("i04", "i05"))])[0]
        assert (answer.source, answer.reasoning) == ("none", None)
    assert calls == [1]
    live.close()


def test_limits_of_the_package_and_unknown_users_are_refused(model: Served, kept: Store) -> None:
    desk = Desk(kept, LiveWriter(kept, 0.0))
    for ask, field in ((Ask(("i01",), k=21), "k"), (Ask(("i01",) * 31), "history")):
        with pytest.raises(InputError) as told:
            desk.answer(model, [ask])
        assert told.value.field == field
    with pytest.raises(UnknownUserError):
        desk.answer(model, [Ask(None, user_id="nobody")])


def test_filters(model: Served) -> None:
    catalogue = model.recommender.catalogue
    assert np.flatnonzero(allowed(catalogue, Filters(("Lamp",)), [])).tolist() == [0, 6, 12, 18]
    assert np.flatnonzero(allowed(catalogue, Filters(min_price=32.0), [])).tolist() == [22, 23]
    assert np.flatnonzero(allowed(catalogue, Filters(max_price=12.0, exclude_seen=True), [1])).tolist() == [0, 2]
    unknown = extend(model, [NewItem("n", "t", "", "", "", None)]).recommender.catalogue
    assert not allowed(unknown, Filters(min_price=0.0), [])[-1]
    assert allowed(unknown, Filters(), [])[-1]


def test_of_items_with_one_title_the_most_bought_is_meant(model: Served) -> None:
    twins = extend(
        model, [NewItem(name, "Twin  Lamp", "", "", "", None) for name in ("t1", "t2")]
    ).recommender.catalogue
    popularity = np.zeros(twins.n)
    popularity[-1] = 3
    finder = Finder(twins, popularity)
    assert finder.history(["twin lamp", "t1"]).known == [twins.n - 1, twins.n - 2]
    assert finder.search("TWIN", 5) == [twins.n - 1, twins.n - 2]


def test_new_items_leave_the_old_ones_as_they_were(model: Served) -> None:
    new = [
        NewItem("n1", "Crux shelf number 16", "", "Crux", "shelf", 26.0),
        NewItem("i00", "known already", "", "", "", 1.0),
        NewItem("n2", "zzz", "", "", "", None),
    ]  # fmt: skip
    grown = extend(model, new)
    old, now = model.recommender, grown.recommender
    assert (now.catalogue.n, grown.added, old.catalogue.n) == (26, 3, 24)
    assert now.catalogue.titles[0] == old.catalogue.titles[0]
    histories = [[0, 1], [15], [8, 16, 23]]
    assert now.prompts(histories) == old.prompts(histories)
    for history in histories:
        reasoning = old.write_reasoning([history])[0]
        for told in (None, reasoning):
            before, after = old.probabilities(history, told), now.probabilities(history, told)
            assert after.sum() == pytest.approx(1.0, abs=1e-5)
            assert np.corrcoef(np.log(before), np.log(after[:24]))[0, 1] > 0.99
            assert (after[24:] > 0).all()
    told = now.probabilities([15, 17], None)
    assert told[24] > told[25]  # a text like the history's beats one without a known word
    assert grown.nearest(24, 1)[0][0] == 16


def test_histories_of_active_users() -> None:
    day = 86_400
    rows = [("a", "i1", 1 * day, 0), ("b", "i2", 2 * day, 1), ("b", "i3", 40 * day, 2), ("b", "i1", 40 * day, 3)]
    made = [(user, item, when, order, None, None) for user, item, when, order in rows]
    events = pl.DataFrame(made, schema=tables.INTERACTIONS.columns, orient="row")
    assert user_histories(events, 90, 2) == {"a": ["i1"], "b": ["i3", "i1"]}
    assert user_histories(events, 30, 9) == {"b": ["i2", "i3", "i1"]}
    given = [("a", "i3", None, 0, "train", ["i1"]), ("a", "i4", None, 1, "test", ["i1", "i3"])]
    events = pl.DataFrame(given, schema=tables.INTERACTIONS.columns, orient="row")
    assert user_histories(events, 1, 9) == {"a": ["i1", "i3", "i4"]}


def test_rates_are_counted_by_client() -> None:
    now = [0.0]
    rate = Rate(2.0, 3, clock=lambda: now[0])
    assert [rate.wait_seconds("a") for _ in range(4)] == [0, 0, 0, 1]
    assert rate.wait_seconds("b") == 0
    now[0] = 0.5
    assert [rate.wait_seconds("a") for _ in range(2)] == [0, 1]
    now[0] = 100.0
    assert [rate.wait_seconds("a") for _ in range(4)] == [0, 0, 0, 1]


def test_a_room_is_full_until_one_leaves() -> None:
    room = Room(2)
    assert [room.enter() for _ in range(3)] == [True, True, False]
    room.leave()
    assert [room.enter() for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("scores", "agreement"), [([3, 2, 1], 1.0), ([1, 2, 3], -1.0), ([1], None), ([5, 5], 1.0)])
def test_agreement_of_orders(scores, agreement) -> None:
    assert order_agreement(scores) == (None if agreement is None else pytest.approx(agreement))
