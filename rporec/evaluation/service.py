"""What a packaged model costs when it serves: latency, size and memory, measured on the served object itself.

Decides by the clock, so it belongs to the gate, never to a stage whose bytes must repeat. Not a load test of the HTTP
service.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from rporec.evaluation.gates import ServiceMeasure
from rporec.release.layout import Settings


def measure(package: Path, histories: Sequence[Sequence[str]], requests: int) -> ServiceMeasure:
    """Load a package in a fresh process and time one request after the other there.

    A process of its own, so that memory is what a worker of the service holds, not what judging has loaded beside it.

    Args:
        package: its folder.
        histories: histories to ask for, item ids, oldest first; used in turn, at least one.
        requests: requests timed, after one that warms up.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(measure_here, package, histories, requests).result()


def measure_here(package: Path, histories: Sequence[Sequence[str]], requests: int) -> ServiceMeasure:
    """Do the measurement in this process."""
    from rporec.recommender import Recommender  # loads torch: not in the process that only asks for the measurement

    settings = Settings.load(package)
    recommender = Recommender.load(package, threads=settings.threads)
    asked = [list(history)[-settings.max_history :] for history in histories]
    recommender.recommend(asked[0], settings.default_k)
    seconds = []
    for number in range(requests):
        start = time.perf_counter()
        recommender.recommend(asked[number % len(asked)], settings.default_k)
        seconds.append(time.perf_counter() - start)
    size = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    memory = psutil.Process().memory_info().rss
    return ServiceMeasure(1000 * float(np.quantile(seconds, 0.95)), size / 1e6, memory / 1e6)
