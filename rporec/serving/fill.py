"""Reasoning ahead of time: what the model would write for every active user and the head of its ranking, to the store.

Run after a promotion (`make reasoning`). Histories come from the interactions that the package was made from. What is
in the store already is not made again, so a run that was stopped goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from rporec.serving.head import packed, unpacked
from rporec.serving.served import Served
from rporec.serving.store import Store

log = logging.getLogger(__name__)
_DAY = 86_400  # seconds
_TOGETHER = 64  # histories written at once


@dataclass(frozen=True)
class Filled:
    """What a fill did: users kept, histories among them that the model can read, written and ranked of these now."""

    users: int
    histories: int
    written: int
    ranked: int


def user_histories(interactions: pl.DataFrame, active_days: int, most: int) -> dict[str, list[str]]:
    """Return the history of every active user as it stands after the newest event, item ids, oldest first.

    Args:
        interactions: table INTERACTIONS; rows of a given split carry their history, the newest row of a user counts.
        active_days: before the newest event, in which an active user bought; without times everybody is active.
        most: newest items kept of a history.
    """
    newest = interactions["timestamp"].max()
    kept = interactions.sort("timestamp", "order", nulls_last=False)
    if isinstance(newest, int):
        active = kept.filter(pl.col("timestamp") > newest - active_days * _DAY)["user_id"].unique()
        kept = kept.filter(pl.col("user_id").is_in(active.implode()))
    given = kept.filter(pl.col("history").is_not_null()).group_by("user_id", maintain_order=True).last()
    bought = kept.filter(pl.col("history").is_null()).group_by("user_id", maintain_order=True).agg("item_id")
    whole = given.select("user_id", item_id=pl.concat_list("history", "item_id"))
    rows = pl.concat([whole, bought.select("user_id", "item_id")])
    return {user: items[-most:] for user, items in rows.iter_rows()}


def fill(served: Served, store: Store, histories: Mapping[str, Sequence[str]]) -> Filled:
    """Keep the users' histories, the reasoning for them and the heads of their rankings.

    Args:
        served: the model that is to answer.
        store: where to.
        histories: of users, item ids, oldest first; ids that the catalogue does not hold are passed over.

    Raises:
        StoreError: the store cannot be reached.
    """
    recommender = served.recommender
    cut = recommender.settings.history_length
    store.keep_users(served.package_hash, histories)
    index = recommender.catalogue.index
    read: dict[str, list[int]] = {}
    for history in histories.values():
        known = [index[item_id] for item_id in history if item_id in index][-cut:]
        if known:
            read[served.key(known)] = known
    keys = sorted(read, key=lambda key: len(read[key]))  # prompts of like length together
    written, ranked = _reasoning(served, store, read, keys), _heads(served, store, read, keys)
    return Filled(len(histories), len(keys), written, ranked)


def _reasoning(served: Served, store: Store, read: Mapping[str, list[int]], keys: Sequence[str]) -> int:
    """Write what is missing and return how many those were."""
    missing: list[str] = []
    for part in _parts(keys):
        there = store.kept(served.package_hash, part)
        missing += [key for key, one in zip(part, there, strict=True) if one is None]
    for part in _parts(missing):
        written = served.recommender.write_reasoning([read[key] for key in part])
        store.keep_reasoning(served.package_hash, dict(zip(part, written, strict=True)))
    return len(missing)


def _heads(served: Served, store: Store, read: Mapping[str, list[int]], keys: Sequence[str]) -> int:
    """Rank what is not ranked, or not by this catalogue, and return how many those were."""
    count = 0
    for part in _parts(keys):
        fresh = {}
        for key, one in zip(part, store.kept(served.package_hash, part), strict=True):
            if one is not None and unpacked(one.head, served, one.reasoning) is None:
                # One by one, as a request is: together the last digit would differ, and with it a tie's order.
                head = served.head(served.probabilities(read[key], one.reasoning))
                fresh[key] = packed(head, served, one.reasoning)
        store.keep_heads(served.package_hash, fresh)
        count += len(fresh)
    return count


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _TOGETHER):
        yield list(keys[start : start + _TOGETHER])
