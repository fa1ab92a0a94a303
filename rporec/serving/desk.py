"""The desk: a request comes in, one model answers it. Finds reasoning (stored, else live, else none), ranks, explains.

Not HTTP (bento/), not which model serves (`swap`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from rporec.errors import InputError
from rporec.reasoning.parse import Parsed
from rporec.recommender import Item, Ranking
from rporec.serving.explain import Explanation, explain
from rporec.serving.filters import NO_FILTERS, Filters, allowed
from rporec.serving.find import Resolved
from rporec.serving.head import unpacked
from rporec.serving.live import LiveWriter
from rporec.serving.served import Served
from rporec.serving.shortlist import Shortlist
from rporec.serving.store import Kept, Reader, Store, StoreError

log = logging.getLogger(__name__)
Source = Literal["stored", "live", "none"]
_PAUSE_SECONDS = 5.0  # that a store which failed is left alone


class UnknownUserError(Exception):
    """No history is kept of this user."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted.

    Args:
        history: ids or titles, oldest first; None where a user is named.
        user_id: a known user, whose kept history is read.
        k: items; None = default_k of the package.
        filters: which items may be shown.
        explain: whether the answer says what it rests on.
    """

    history: tuple[str, ...] | None
    user_id: str | None = None
    k: int | None = None
    filters: Filters = NO_FILTERS
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered.

    Args:
        items: best first.
        reasoning: that was found or written, well formed or not; None without.
        source: `stored` or `live` when the ranking read reasoning, else `none`.
        ranking: `rechead`, or `popularity` when no history item is known.
        unknown_ids: entries of the history that are not in the catalogue.
        explanation: where it was asked for and the Rechead ranked.
        served: the model that answered, from start to end.
        history: item indices that were read.
        filters: that the items had to pass.
        seconds: from request to answer.
    """

    items: tuple[Item, ...]
    reasoning: Parsed | None
    source: Source
    ranking: Ranking
    unknown_ids: tuple[str, ...]
    explanation: Explanation | None
    served: Served
    history: tuple[int, ...]
    filters: Filters
    seconds: float


@dataclass(frozen=True, slots=True)
class _Found:
    reasoning: Parsed | None
    source: Source
    head: Shortlist | None = None  # of the ranking, where the store has it


class Desk:
    """Answers requests with a model that the caller holds.

    Args:
        store: of reasoning and users.
        live: writes what the store has not.
    """

    def __init__(self, store: Store, live: LiveWriter) -> None:
        self._store, self._live, self._reader = store, live, store.reader()
        self._store_back_at = 0.0

    def close(self) -> None:
        """Let go of what was opened to read at once."""
        if self._reader is not None:
            self._reader.close()

    def at_once(self, served: Served, ask: Ask) -> Answer | None:
        """Answer from what is kept, without a model and without waiting: for the one thread that may not wait.

        Returns:
            What `answer` would, or None where that takes more: nothing is kept or not enough, filters that look at
            all items, an explanation, a store that is away.

        Raises:
            InputError, UnknownUserError: as `answer`.
        """
        if self._reader is None or ask.explain or ask.filters.of_items:
            return None
        begun = time.perf_counter()
        check(served, ask)
        try:
            history = _history(self._reader, served, ask)
            kept = self._reader.kept(served.package_hash, [served.key(history.known)])[0] if history.known else None
            found = None if kept is None else _stored(served, kept)
        except StoreError:  # locked for a moment, or away: `answer` waits, and says so
            return None
        if found is None:
            return None
        head = found.head or served.kept(history.known, found.reasoning)
        items = None if head is None else served.ready(head, *_shown(served, ask, history))
        return None if items is None else _answer(served, ask, history, found, (items, None), begun)

    def answer(self, served: Served, asked: Sequence[Ask]) -> list[Answer]:
        """Answer B requests with one model.

        Raises:
            InputError: k or the length of a history is above the limits of the package.
            UnknownUserError: a user is named of whom nothing is kept.
        """
        begun = time.perf_counter()
        for ask in asked:
            check(served, ask)
        # Without the store nobody is known: that is an error of ours, not of who asks.
        histories = [_history(self._store, served, ask) for ask in asked]
        reasoned = self._reasoning(served, [one.known for one in histories])
        answers = []
        for ask, history, found in zip(asked, histories, reasoned, strict=True):
            answers.append(_rank(served, ask, history, found, begun))
        return answers

    def _reasoning(self, served: Served, histories: Sequence[Sequence[int]]) -> list[_Found]:
        found = [_Found(None, "none") for _ in histories]
        places = [place for place, history in enumerate(histories) if history]
        if not places:
            return found
        stored = self._stored(served, [served.key(histories[place]) for place in places])
        missing = []
        for place, one in zip(places, stored, strict=True):
            if one is None:
                missing.append(place)
            else:
                found[place] = one
        for place, fresh in zip(missing, self._live.write(served, [histories[at] for at in missing]), strict=True):
            if fresh is not None:
                found[place] = _Found(fresh, "live" if fresh.well_formed else "none")
        return found

    def _stored(self, served: Served, keys: Sequence[str]) -> list[_Found | None]:
        if time.monotonic() < self._store_back_at:
            return [None] * len(keys)
        try:
            there = self._store.kept(served.package_hash, keys)
            return [None if one is None else _stored(served, one) for one in there]
        except StoreError as error:
            self._store_back_at = time.monotonic() + _PAUSE_SECONDS
            log.warning("going on without stored reasoning: %s", error)
            return [None] * len(keys)


def check(served: Served, ask: Ask) -> None:
    """Refuse what the package does not allow.

    Raises:
        InputError: k or the length of the history is out of range.
    """
    settings = served.recommender.settings
    for field, value, most in (("k", ask.k, settings.max_k), ("history", len(ask.history or ()), settings.max_history)):
        if value is not None and value > most:
            raise InputError(
                f"{field} is above the limit of this model", field=field, value=value, rule=f"at most {most}",
                cure="ask for less",
            )  # fmt: skip


def _history(reader: Reader, served: Served, ask: Ask) -> Resolved:
    if ask.user_id is None:
        return served.finder.history(ask.history or ())
    kept = reader.user(served.package_hash, ask.user_id)
    if kept is None:
        raise UnknownUserError(ask.user_id)
    return served.finder.history(kept[-served.recommender.settings.max_history :])


def _stored(served: Served, kept: Kept) -> _Found:
    reasoning = kept.reasoning
    return _Found(reasoning, "stored" if reasoning.well_formed else "none", unpacked(kept.head, served, reasoning))


def _shown(served: Served, ask: Ask, history: Resolved) -> tuple[int, npt.NDArray[np.bool_] | None]:
    """Return how many items are wanted, and [N] which may be shown; None = all."""
    recommender = served.recommender
    passes = None if ask.filters == NO_FILTERS else allowed(recommender.catalogue, ask.filters, history.known)
    return recommender.settings.default_k if ask.k is None else ask.k, passes


def _rank(served: Served, ask: Ask, history: Resolved, found: _Found, begun: float) -> Answer:
    recommender, known = served.recommender, history.known
    k, passes = _shown(served, ask, history)
    items = None if found.head is None else served.ready(found.head, k, passes)
    if items is None and known:
        items = served.best(known, found.reasoning, k, passes)
    if items is None:
        items = recommender.best(recommender.popular(), k, passes)
    why = None
    if ask.explain and known:
        places = [recommender.catalogue.index[item.item_id] for item in items]
        shown = allowed(recommender.catalogue, ask.filters, known) if passes is None else passes
        why = explain(served, known, found.reasoning, places, shown)
    return _answer(served, ask, history, found, (items, why), begun)


def _answer(
    served: Served,
    ask: Ask,
    history: Resolved,
    found: _Found,
    ranked: tuple[tuple[Item, ...], Explanation | None],
    begun: float,
) -> Answer:
    return Answer(
        items=ranked[0],
        reasoning=found.reasoning if found.source != "none" else None,
        source=found.source,
        ranking="rechead" if history.known else "popularity",
        unknown_ids=history.unknown,
        explanation=ranked[1],
        served=served,
        history=tuple(history.known),
        filters=ask.filters,
        seconds=time.perf_counter() - begun,
    )
