"""The store in Redis: for several machines that serve one model."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import redis

from rporec.reasoning.parse import Parsed
from rporec.serving.store import Kept, NewItem, Reader, StoreError, pack, pack_item, unpack, unpack_item

_REASONING, _HEADS, _USERS = "rporec:reasoning:", "rporec:heads:", "rporec:users:"
_ITEMS, _ORDER = "rporec:items:", "rporec:order:"
_SECONDS = 0.5  # a request rather goes on without the store than waits longer
_TOGETHER = 1000
# The id is taken and the order noted in one step: two workers that add at once must not both succeed.
_ADD = """
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
return 1
"""


class RedisStore:
    """A store behind a Redis URL; one hash a package, so that a package is dropped at once.

    Args:
        url: redis://host:port/database.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)

    def reader(self) -> Reader | None:
        """Return None: a network may always mean waiting."""
        return None

    def kept(self, package_hash: str, keys: Sequence[str]) -> list[Kept | None]:
        """Return what is kept under each key, None where there is no reasoning."""
        lines: list[bytes | None] = []
        heads: list[bytes | None] = []
        for start in range(0, len(keys), _TOGETHER):
            part = list(keys[start : start + _TOGETHER])
            with _told(), self._redis.pipeline(transaction=False) as both:  # one way there and back
                both.hmget(f"{_REASONING}{package_hash}", part)
                both.hmget(f"{_HEADS}{package_hash}", part)
                found = both.execute()
            lines += found[0]
            heads += found[1]
        rows = zip(keys, lines, heads, strict=True)
        return [None if line is None else unpack(key, line, head) for key, line, head in rows]

    def keep_reasoning(self, package_hash: str, written: Mapping[str, Parsed]) -> None:
        """Keep reasoning by key; what is kept already is replaced."""
        self._keep(f"{_REASONING}{package_hash}", {key: pack(one).encode() for key, one in written.items()})

    def keep_heads(self, package_hash: str, heads: Mapping[str, bytes]) -> None:
        """Keep heads of rankings by key; what is kept already is replaced."""
        self._keep(f"{_HEADS}{package_hash}", heads)

    def user(self, package_hash: str, user_id: str) -> list[str] | None:
        """Return a user's history of item ids, oldest first, None for an unknown user."""
        with _told():
            line = self._redis.hget(f"{_USERS}{package_hash}", user_id)
        return None if line is None else [str(item_id) for item_id in json.loads(line)]

    def keep_users(self, package_hash: str, histories: Mapping[str, Sequence[str]]) -> None:
        """Keep the histories of users."""
        self._keep(f"{_USERS}{package_hash}", {user: json.dumps(list(one)).encode() for user, one in histories.items()})

    def items(self, model: str) -> list[NewItem]:
        """Return the items added to a registered model, in the order of their adding."""
        with _told():
            order = self._redis.lrange(f"{_ORDER}{model}", 0, -1)
            lines = self._redis.hmget(f"{_ITEMS}{model}", order) if order else []
        return [unpack_item(line) for line in lines if line is not None]

    def add_item(self, model: str, item: NewItem) -> bool:
        """Add an item; False, and nothing changed, when its id is taken."""
        keys = f"{_ITEMS}{model}", f"{_ORDER}{model}"
        with _told():
            return bool(self._redis.eval(_ADD, 2, *keys, item.item_id, pack_item(item)))

    def items_added(self, model: str) -> int:
        """Return how many items were added."""
        with _told():
            return int(self._redis.llen(f"{_ORDER}{model}"))

    def forget(self, keep: Collection[str]) -> None:
        """Drop reasoning, heads and users of all packages but these, by hash."""
        with _told():
            for start in (_REASONING, _HEADS, _USERS):
                for key in self._redis.scan_iter(match=f"{start}*"):
                    if key.decode().removeprefix(start) not in keep:
                        self._redis.unlink(key)

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _keep(self, name: str, lines: Mapping[str, bytes]) -> None:
        pairs = list(lines.items())
        for start in range(0, len(pairs), _TOGETHER):
            with _told():
                self._redis.hset(name, mapping=dict(pairs[start : start + _TOGETHER]))


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise StoreError(f"the Redis store failed: {type(error).__name__}") from error
