"""What a service keeps beside its model: reasoning written ahead of time, histories of users, items added since.

The contract and the keys; `store_sqlite` and `store_redis` keep the bytes. Reasoning and users belong to one package
(by its hash), added items to the registered model, whatever its version. Not a source of truth for training.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from rporec.reasoning.parse import Parsed

log = logging.getLogger(__name__)


class StoreError(Exception):
    """The store cannot be reached or read; a request goes on without it."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item that was added to a running catalogue; texts "" and price None where unknown."""

    item_id: str
    title: str
    description: str
    brand: str
    category: str
    price: float | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a history.

    Args:
        reasoning: as it was written.
        head: of the ranking, as `serving.head` packs it; None where none was computed ahead of time.
    """

    reasoning: Parsed
    head: bytes | None


class Reader(Protocol):
    """What a request asks of a store. Every method raises StoreError when the store cannot be reached."""

    def kept(self, package_hash: str, keys: Sequence[str]) -> list[Kept | None]:
        """Return what is kept under each key, None where there is no reasoning."""

    def user(self, package_hash: str, user_id: str) -> list[str] | None:
        """Return a user's history of item ids, oldest first, None for an unknown user."""

    def close(self) -> None:
        """Let go of files and connections."""


class Store(Reader, Protocol):
    """Where it is kept. Every method raises StoreError when the store cannot be reached."""

    def reader(self) -> Reader | None:
        """Return a reader of its own for one thread that may not wait, None where every look may mean waiting."""

    def keep_reasoning(self, package_hash: str, written: Mapping[str, Parsed]) -> None:
        """Keep reasoning by key; what is kept already is replaced."""

    def keep_heads(self, package_hash: str, heads: Mapping[str, bytes]) -> None:
        """Keep heads of rankings by key; what is kept already is replaced."""

    def keep_users(self, package_hash: str, histories: Mapping[str, Sequence[str]]) -> None:
        """Keep the histories of users."""

    def items(self, model: str) -> list[NewItem]:
        """Return the items added to a registered model, in the order of their adding."""

    def add_item(self, model: str, item: NewItem) -> bool:
        """Add an item; False, and nothing changed, when its id is taken."""

    def items_added(self, model: str) -> int:
        """Return how many items were added: cheap, so that every worker can look often."""

    def forget(self, keep: Collection[str]) -> None:
        """Drop reasoning, heads and users of all packages but these, by hash."""


def history_key(item_ids: Sequence[str]) -> str:
    """Return the key of the reasoning for a history: a hash of the ids that the model reads, oldest first."""
    return hashlib.sha256(json.dumps(list(item_ids), ensure_ascii=True).encode()).hexdigest()


def pack(reasoning: Parsed) -> str:
    """Return reasoning as one line of JSON."""
    return json.dumps(asdict(reasoning), ensure_ascii=False)


def unpack(key: str, line: str | bytes, head: bytes | None) -> Kept | None:
    """Read what `pack` wrote; what is something else counts as absent, and is told in the log.

    One damaged row is no reason to go on without the whole store.

    Args:
        key: under which it was kept, for the log.
        line: of JSON.
        head: of the ranking, as it was kept.
    """
    try:
        found = Parsed(**json.loads(line))
        kinds = tuple(map(type, (found.thought, found.answer, found.well_formed, found.outside)))
        if kinds != (str, str, bool, int):
            raise TypeError("a part of it is of the wrong type")
    except (ValueError, TypeError) as error:
        log.warning("key %s of the store holds no reasoning, so that it is written anew: %s", key, error)
        return None
    return Kept(found, head)


def pack_item(item: NewItem) -> str:
    """Return an item as one line of JSON."""
    return json.dumps(asdict(item), ensure_ascii=False)


def unpack_item(line: str | bytes) -> NewItem:
    """Read what `pack_item` wrote.

    Raises:
        StoreError: it is something else.
    """
    try:
        return NewItem(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise StoreError(f"the store holds no item under a key of items: {error}") from error
