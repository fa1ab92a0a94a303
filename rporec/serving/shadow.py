"""Shadow: a challenger scores a share of the live requests and never answers. How far it agrees is told.

One thread of low priority behind a short queue: a request that finds it full goes on unshadowed, so no answer waits.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rporec.serving.desk import Answer
from rporec.serving.filters import allowed
from rporec.serving.served import Served

log = logging.getLogger(__name__)
_WAITING = 16  # answers
_NICE = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger beside the champion, on one request.

    Args:
        version: of the challenger.
        overlap: share of the champion's k items that are among the challenger's k, 0-1.
        correlation: Spearman's, of the order in which both put the champion's items, -1 to 1; None for fewer than two.
        seconds: the challenger took, its own reasoning included.
    """

    version: int | None
    overlap: float
    correlation: float | None
    seconds: float


class Shadow:
    """Compares a challenger with what was answered.

    Args:
        challenger: returns the challenger of the moment, None without.
        share: of the requests, 0-1.
        told: called with each comparison, in the shadow's thread.
        seed: of the draw of requests.
    """

    def __init__(
        self, challenger: Callable[[], Served | None], share: float, told: Callable[[Comparison], None], seed: int = 0
    ) -> None:
        self._challenger, self._share, self._told = challenger, share, told
        self._draw = random.Random(seed)
        self._waiting: queue.Queue[Answer | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, answer: Answer) -> None:
        """Hand over an answer that was given; returns at once, whether it is compared or not."""
        if answer.ranking == "rechead" and answer.items and self._draw.random() < self._share:
            try:
                self._waiting.put_nowait(answer)
            except queue.Full:
                log.debug("the shadow is busy; a request goes unshadowed")

    def stop(self) -> None:
        """End after the comparisons that wait."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)  # Linux: of this thread alone
        while (answer := self._waiting.get()) is not None:
            challenger = self._challenger()
            if challenger is None or challenger.package_hash == answer.served.package_hash:
                continue
            try:
                found = compare(challenger, answer)
            except Exception:  # a challenger may be broken in any way
                log.exception("the challenger could not be compared")
                continue
            log.info(
                "shadow: version %s, overlap %.2f, correlation %s, %.0f ms",
                found.version, found.overlap, found.correlation, 1000 * found.seconds,
            )  # fmt: skip
            self._told(found)


def compare(challenger: Served, answer: Answer) -> Comparison:
    """Let a challenger rank what was asked, with reasoning of its own."""
    begun = time.perf_counter()
    recommender = challenger.recommender
    asked = answer.served.recommender.catalogue
    known = challenger.finder.history([asked.item_ids[item] for item in answer.history]).known
    reasoning = recommender.write_reasoning([known])[0] if known else None
    probabilities = challenger.probabilities(known, reasoning) if known else recommender.popular()
    passes = allowed(recommender.catalogue, answer.filters, known)
    best = {item.item_id for item in recommender.best(probabilities, len(answer.items), passes)}
    seconds = time.perf_counter() - begun
    shown = [item.item_id for item in answer.items]
    scores = [float(probabilities[recommender.catalogue.index[i]]) for i in shown if i in recommender.catalogue.index]
    overlap = sum(item_id in best for item_id in shown) / len(shown)
    return Comparison(challenger.version, overlap, order_agreement(scores), seconds)


def order_agreement(scores: Sequence[float]) -> float | None:
    """Return Spearman's correlation of scores with the order in which they stand, best first; None for one."""
    if len(scores) < 2:
        return None
    places = np.argsort(np.argsort(-np.asarray(scores), kind="stable"), kind="stable")
    return float(np.corrcoef(places, np.arange(len(scores)))[0, 1])
