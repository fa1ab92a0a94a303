"""Reasoning ahead of time: for every active user, what the model would write when asked, put into the store.

Run after a promotion (`make reasoning`). Histories come from the interactions that the package was made from. What is
in the store already is not written again, so a run that was stopped goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl

from rporec.serving.served import Served
from rporec.serving.store import Store

log = logging.getLogger(__name__)
_DAY = 86_400  # seconds
_TOGETHER = 64  # histories written at once


@dataclass(frozen=True)
class Filled:
    """What a fill did: users kept, histories among them that the model can read, completions written now."""

    users: int
    histories: int
    written: int


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
    """Keep the users' histories and the reasoning for them.

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
    keys = list(read)
    there = store.reasoning(served.package_hash, keys)
    missing = [key for key, one in zip(keys, there, strict=True) if one is None]
    missing.sort(key=lambda key: len(read[key]))  # prompts of like length together
    waiting = iter(missing)
    while part := list(islice(waiting, _TOGETHER)):
        written = recommender.write_reasoning([read[key] for key in part])
        store.keep_reasoning(served.package_hash, dict(zip(part, written, strict=True)))
    return Filled(len(histories), len(keys), len(missing))
