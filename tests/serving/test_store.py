"""Both stores keep the one contract, over a restart, and beside each other."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra import children
from rporec.errors import InputError
from rporec.reasoning.parse import NO_REASONING, Parsed
from rporec.serving.fill import fill
from rporec.serving.open_store import open_store
from rporec.serving.served import Served
from rporec.serving.store import NewItem, Store, StoreError, history_key, pack
from rporec.serving.store_redis import RedisStore
from rporec.serving.store_sqlite import SqliteStore

SAID = Parsed("They like “lamps”.", "Acme lamp; lamp", well_formed=True, outside=3)


def item(number: int) -> NewItem:
    return NewItem(f"n{number}", "a title 'quoted'", "", "Acme", "", None if number % 2 else 2.5)


def _reasoning(store: Store, package: str, keys: list[str]) -> list[Parsed | None]:
    return [None if one is None else one.reasoning for one in store.kept(package, keys)]


def test_reasoning_is_kept_by_package_and_history(store: Store) -> None:
    keys = [history_key(["a", "b"]), history_key(["b", "a"]), history_key(["ab"])]
    assert len(set(keys)) == 3
    store.keep_reasoning("p1", {keys[0]: SAID, keys[1]: NO_REASONING})
    assert _reasoning(store, "p1", keys) == [SAID, NO_REASONING, None]
    assert _reasoning(store, "p2", keys) == [None, None, None]
    store.keep_reasoning("p1", {keys[0]: NO_REASONING})
    assert _reasoning(store, "p1", [keys[0]]) == [NO_REASONING]
    many = {history_key([str(n)]): SAID for n in range(1200)}
    store.keep_reasoning("p1", many)
    assert _reasoning(store, "p1", list(many)) == [SAID] * 1200


def _damage(store: Store, key: str, line: str) -> None:
    """Put a line in the place of what is kept under a key."""
    if isinstance(store, SqliteStore):
        with sqlite3.connect(store.file) as database:
            assert database.execute("UPDATE reasoning SET written = ? WHERE key = ?", (line, key)).rowcount == 1
    else:
        assert isinstance(store, RedisStore)
        (name,) = store._redis.keys("*reasoning*")
        assert store._redis.hset(name, key, line) == 0  # no field is new


@pytest.mark.parametrize("line", ["{", "[]", '{"thought": "a"}', pack(SAID).replace("3", '"3"'), "\0"])
def test_a_damaged_row_counts_as_absent_and_its_neighbours_stay(
    store: Store, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.keep_reasoning("p1", {"whole": SAID, "broken": SAID})
    _damage(store, "broken", line)
    assert _reasoning(store, "p1", ["whole", "broken"]) == [SAID, None]
    assert "key broken of the store holds no reasoning" in caplog.text
    store.keep_reasoning("p1", {"broken": SAID})
    assert _reasoning(store, "p1", ["broken"]) == [SAID]


def test_users_and_forgetting(store: Store) -> None:
    for package in ("p1", "p2"):
        store.keep_users(package, {"ann": ["a", "b"], "o'hara; --": []})
        store.keep_reasoning(package, {"k": SAID})
    assert (store.user("p1", "ann"), store.user("p1", "o'hara; --"), store.user("p1", "bob")) == (["a", "b"], [], None)
    store.forget({"p2"})
    assert (store.user("p1", "ann"), _reasoning(store, "p1", ["k"])) == (None, [None])
    assert (store.user("p2", "ann"), _reasoning(store, "p2", ["k"])) == (["a", "b"], [SAID])


def test_items_are_added_once_and_in_order(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: store.add_item("m", item(1)), range(8)))
    assert sum(added) == 1
    assert store.add_item("m", item(2))
    assert store.add_item("other", item(1))
    assert (store.items("m"), store.items_added("m"), store.items_added("none")) == ([item(1), item(2)], 2, 0)


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "serving.db")
    first.keep_reasoning("p", {"k": SAID})
    first.add_item("m", item(1))
    first.close()
    again = open_store(None, tmp_path)
    assert (_reasoning(again, "p", ["k"]), again.items("m")) == ([SAID], [item(1)])
    again.close()


def test_a_store_that_is_away_says_so(tmp_path: Path) -> None:
    away = RedisStore(f"redis://127.0.0.1:{children.free_port()}/0")
    with pytest.raises(StoreError, match="Redis"):
        away.kept("p", ["k"])
    (tmp_path / "serving.db").write_text("no database at all, but a text that is long enough to be read as one" * 20)
    with pytest.raises(InputError, match="cannot be opened"):
        open_store(None, tmp_path)


def test_a_fill_writes_what_is_missing_and_nothing_twice(store: Store, model: Served) -> None:
    histories = {"u1": ["i00", "i01"], "u2": ["gone", "i00", "i01"], "u3": ["i05"], "u4": ["gone"]}
    done = fill(model, store, histories)
    assert (done.users, done.histories, done.written) == (4, 2, 2)
    assert fill(model, store, {**histories, "u5": ["i07"]}).written == 1
    stored = _reasoning(store, model.package_hash, [model.key([0, 1]), model.key([5])])
    assert stored == model.recommender.write_reasoning([[0, 1], [5]])
    assert store.user(model.package_hash, "u2") == ["gone", "i00", "i01"]
