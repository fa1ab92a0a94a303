"""Reasoning written while a request waits: by one thread, within a token and a time budget.

The tokens are bounded by the package (`max_reasoning_tokens`), the time by the waiting: what comes too late is still
kept in the store, so that the next request for that history finds it. Nothing here ranks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError

from rporec.reasoning.parse import Parsed
from rporec.serving.served import Served
from rporec.serving.store import Store, StoreError

log = logging.getLogger(__name__)
_TOGETHER = 16  # histories of one job: a large batch gives way to others in between
_Job = tuple[str, str]  # package, key


class LiveWriter:
    """Writes reasoning on demand.

    Args:
        store: where it is kept.
        seconds: that a request waits at most; 0 = nothing is written.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        # One thread: the tokenizer is not made for several, and two completions at once take twice as long each.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reasoning")
        self._lock = threading.Lock()
        self._under_way: dict[_Job, Future[Parsed]] = {}

    def write(self, served: Served, histories: Sequence[Sequence[int]]) -> list[Parsed | None]:
        """Return reasoning for B histories of item indices, None for what was not written in time.

        Requests for the same history at the same time share one completion. A job that nobody waits for any longer is
        dropped unless it has begun.
        """
        if self._seconds <= 0:
            return [None] * len(histories)
        deadline = time.monotonic() + self._seconds
        asked = [self._ask(served, list(histories[at : at + _TOGETHER])) for at in range(0, len(histories), _TOGETHER)]
        return [self._wait(future, deadline) for futures in asked for future in futures]

    def close(self) -> None:
        """Drop what has not begun and wait for the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, served: Served, histories: list[Sequence[int]]) -> list[Future[Parsed]]:
        keys = [served.key(history) for history in histories]
        futures, fresh = [], {}
        with self._lock:
            for key, history in zip(keys, histories, strict=True):
                job = (served.package_hash, key)
                if job not in self._under_way:
                    self._under_way[job] = Future()
                    fresh[key] = history
                futures.append(self._under_way[job])
        if fresh:
            self._pool.submit(self._work, served, fresh, time.monotonic() + self._seconds)
        return futures

    def _work(self, served: Served, fresh: dict[str, Sequence[int]], deadline: float) -> None:
        jobs = {key: (served.package_hash, key) for key in fresh}
        try:
            if time.monotonic() > deadline:
                raise TimeoutError  # nobody waits any longer
            written = dict(zip(fresh, served.recommender.write_reasoning(list(fresh.values())), strict=True))
            self._keep(served, written)
            for key, job in jobs.items():
                self._end(job).set_result(written[key])
        except BaseException as error:  # whoever waits must hear of it
            if not isinstance(error, TimeoutError):
                log.exception("reasoning could not be written")
            for job in jobs.values():
                self._end(job).set_exception(error)

    def _end(self, job: _Job) -> Future[Parsed]:
        with self._lock:
            return self._under_way.pop(job)

    def _keep(self, served: Served, written: dict[str, Parsed]) -> None:
        try:
            self._store.keep_reasoning(served.package_hash, written)
        except StoreError as error:
            log.warning("reasoning written live is not kept: %s", error)

    def _wait(self, future: Future[Parsed], deadline: float) -> Parsed | None:
        try:
            return future.result(timeout=max(0.0, deadline - time.monotonic()))
        except Exception:  # noqa: BLE001 - logged where it was raised; the answer goes on without reasoning
            return None
