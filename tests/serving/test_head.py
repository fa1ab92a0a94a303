"""Heads kept in the store: the same answers as without them, whatever is asked, and none that no longer holds."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rporec.recommender import Recommender
from rporec.serving.desk import Answer, Ask, Desk, UnknownUserError
from rporec.serving.extend import extend
from rporec.serving.fill import fill
from rporec.serving.filters import Filters
from rporec.serving.head import packed, unpacked
from rporec.serving.live import LiveWriter
from rporec.serving.served import Served
from rporec.serving.shortlist import Shortlists
from rporec.serving.store import NewItem, Store, StoreError
from rporec.serving.store_sqlite import SqliteStore
from tests.release import world

USERS = {"u1": ["i00", "i01"], "u2": ["i05"], "u3": ["i20", "gone", "i03", "i04"]}
NEW = [NewItem("n1", "Acme lamp number 99", "", "Acme", "lamp", 12.0)]


def fresh(model: Served, most: int = world.SETTINGS.max_k) -> Served:
    """The model with nothing in memory, and with heads of twice `most` items."""
    old = model.recommender
    cut = Recommender(
        old.package_hash, replace(old.settings, max_k=most), old.evidence, old.rechead, old.writer, old.popularity
    )
    return replace(model, recommender=cut, shortlists=Shortlists())


def ask_twice(store: Store, served: Served, ask: Ask) -> tuple[Answer | None, Answer]:
    """Ask at once, and as a request that may wait."""
    desk = Desk(store, LiveWriter(store, 0.0))
    try:
        return desk.at_once(served, ask), desk.answer(served, [ask])[0]
    finally:
        desk.close()


def shown(answer: Answer | None) -> tuple[object, ...] | None:
    """All of an answer but the model and the time that it took."""
    if answer is None:
        return None
    return (answer.items, answer.reasoning, answer.source, answer.ranking, answer.unknown_ids, answer.explanation,
            answer.history, answer.filters)  # fmt: skip


@pytest.fixture(scope="module")
def stores(model: Served, tmp_path_factory: pytest.TempPathFactory):
    """A filled store with short heads, and one with the same reasoning and no heads."""
    folder = tmp_path_factory.mktemp("heads")
    ranked, plain = SqliteStore(folder / "ranked.db"), SqliteStore(folder / "plain.db")
    fill(fresh(model, 4), ranked, USERS)
    plain.keep_users(model.package_hash, USERS)
    keys = [model.key(history) for history in ([0, 1], [5], [20, 3, 4])]
    there = ranked.kept(model.package_hash, keys)
    assert all(one.head for one in there)
    plain.keep_reasoning(model.package_hash, {key: one.reasoning for key, one in zip(keys, there, strict=True)})
    yield ranked, plain
    ranked.close()
    plain.close()


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user=st.sampled_from([*USERS, "nobody"]), k=st.sampled_from([None, 1, 3, 4]), seen=st.booleans(),
    categories=st.sampled_from([(), ("lamp",), ("lamp", "clock", "stool")]), lowest=st.sampled_from([None, 15.0, 33.0]),
    why=st.booleans(), by_name=st.booleans(),
)  # fmt: skip
def test_answers_are_those_without_a_kept_head(stores, model, user, k, seen, categories, lowest, why, by_name) -> None:
    ranked, plain = stores
    history = None if by_name or user == "nobody" else tuple(USERS[user])
    ask = Ask(history, None if history else user, k, Filters(categories, lowest, None, seen), why)
    if user == "nobody":
        with pytest.raises(UnknownUserError):
            ask_twice(ranked, fresh(model, 4), ask)
        return
    at_once, waited = ask_twice(ranked, fresh(model, 4), ask)
    _, expected = ask_twice(plain, fresh(model, 4), ask)
    assert shown(waited) == shown(expected)
    assert at_once is None or shown(at_once) == shown(expected)
    assert (at_once is None) == (why or bool(categories) or lowest is not None)


def test_a_kept_head_asks_no_model(stores, model: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served = fresh(model, 4)
    monkeypatch.setattr(served.recommender, "probabilities", lambda *_: pytest.fail("it scored"))
    for answer in ask_twice(stores[0], served, Ask(("i00", "i01"), k=4)):
        assert answer.source == "stored"
        assert len(answer.items) == 4


def test_nothing_is_lost_in_the_bytes(model: Served) -> None:
    reasoning = model.recommender.write_reasoning([[7, 8]])[0]
    for served in (fresh(model), fresh(model, 4)):
        head = served.head(served.probabilities([7, 8], reasoning))
        again = unpacked(packed(head, served, reasoning), served, reasoning)
        assert again.items.tolist() == head.items.tolist()
        np.testing.assert_allclose(again.scores, head.scores, rtol=1e-15, atol=0)
        assert again.whole == head.whole == (served.recommender.settings.max_k == world.SETTINGS.max_k)


def test_a_head_of_something_else_is_none(model: Served) -> None:
    served, reasoning = fresh(model, 4), model.recommender.write_reasoning([[7, 8]])[0]
    kept = packed(served.head(served.probabilities([7, 8], reasoning)), served, reasoning)
    assert unpacked(None, served, reasoning) is None
    assert unpacked(kept, served, replace(reasoning, thought="something else")) is None
    assert unpacked(kept, extend(served, NEW), reasoning) is None
    other = [replace(NEW[0], title="another")]
    assert extend(served, NEW).grown != extend(served, other).grown
    assert extend(served, [replace(NEW[0], item_id="i03")]).grown == served.grown  # known: the catalogue is the same
    with pytest.raises(StoreError, match="cut off"):
        unpacked(kept[:-1], served, reasoning)
    with pytest.raises(StoreError, match="other items"):
        unpacked(kept[:9] + b"\xff\xff\xff\x7f" + kept[13:], served, reasoning)


def test_added_items_make_heads_anew(store: Store, model: Served) -> None:
    assert fill(model, store, USERS).ranked == 3
    assert fill(model, store, USERS).ranked == 0
    grown = replace(extend(model, NEW), shortlists=Shortlists())
    ask = Ask(("i00", "i01"), k=20)
    stale = ask_twice(store, grown, ask)[1]
    probabilities = grown.recommender.probabilities([0, 1], stale.reasoning)
    assert stale.items == grown.recommender.best(probabilities, 20)
    done = fill(grown, store, USERS)
    assert (done.written, done.ranked) == (0, 3)
    assert ask_twice(store, replace(grown, shortlists=Shortlists()), ask)[1].items == stale.items


def test_a_store_of_before_heads_were_kept_goes_on(model: Served, tmp_path: Path) -> None:
    file = tmp_path / "serving.db"
    first = SqliteStore(file)
    fill(model, first, USERS)
    first.close()
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE heads")
    old = SqliteStore(file)
    at_once, waited = ask_twice(old, fresh(model), Ask(("i05",)))
    assert (at_once, waited.source) == (None, "stored")
    done = fill(model, old, USERS)
    assert (done.written, done.ranked) == (0, 3)
    at_once, _ = ask_twice(old, fresh(model), Ask(("i05",)))
    assert shown(at_once) == shown(waited)
    old.close()


def test_looking_at_once_waits_for_nobody_who_writes(stores, model: Served) -> None:
    served, ask = fresh(model, 4), Ask(("i05",))
    desk = Desk(stores[0], LiveWriter(stores[0], 0.0))
    with sqlite3.connect(stores[0].file) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO users VALUES ('p', 'u', '[]')")
        assert desk.at_once(served, ask).source == "stored"
        other.rollback()
    desk.close()
