"""What Prometheus sees: requests by route, answers by reasoning source, fallbacks, model version, shadow.

In place of BentoML's own request metrics, which keep a set of series for every path that anybody asks for.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter as Counted

from rporec.serving.bands import LENGTHS, NAMES
from rporec.serving.desk import Answer
from rporec.serving.served import Served
from rporec.serving.shadow import Comparison

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_DAY = 86_400.0  # seconds


class Meters:
    """The service's counters.

    To be made when a worker starts, not on import: the client library looks then whether several processes count.

    Args:
        max_age_days: age at which a model's data count as stale, days.
    """

    def __init__(self, max_age_days: int) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._requests = Counter("rporec_requests", "requests by route and status", ["route", "status"])
        self._times = Histogram("rporec_request_seconds", "seconds of a request by route", ["route"], buckets=_SECONDS)
        self._refused = Counter("rporec_refused", "requests refused before they were read", ["reason"])
        self._seconds = Histogram(
            "rporec_answer_seconds", "seconds from request to answer, by reasoning source", ["reasoning"],
            buckets=_SECONDS,
        )  # fmt: skip
        self._fallbacks = Counter(
            "rporec_fallbacks", "answers with less than asked for: no_reasoning, popularity", ["kind"]
        )
        self._lengths = Histogram("rporec_history_items", "items of a history that the model reads", buckets=LENGTHS)
        self._bands = Counter(
            "rporec_history_popularity", "items of the histories asked for, by their rank in purchases", ["band"]
        )
        self._version = Gauge(
            "rporec_model_version",
            "registered version; 0 = a package folder",
            multiprocess_mode="mostrecent",
        )
        self._max_age_days = max_age_days
        self._as_of = Gauge(
            "rporec_data_as_of_seconds",
            "Unix time up to which the model saw data; 0 = not known",
            multiprocess_mode="mostrecent",
        )
        self._stale_at = Gauge(
            "rporec_data_stale_at_seconds",
            "Unix time from which its data are older than monitor.max_age_days; 0 = not known",
            multiprocess_mode="mostrecent",
        )
        self._models = Counter("rporec_models_loaded", "models that began to serve", ["package"])
        self._overlap = Histogram("rporec_shadow_overlap", "share of the items that both rank first",
                                  buckets=_SHARES)  # fmt: skip
        self._correlation = Histogram("rporec_shadow_correlation", "Spearman's correlation of their order",
                                      buckets=(-1.0, -0.5, *_SHARES))  # fmt: skip
        self._shadow_seconds = Histogram("rporec_shadow_seconds", "seconds of the challenger", buckets=_SECONDS)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request of a route (its pattern, not its path: paths are the callers' and have no end)."""
        self._requests.labels(route, str(status)).inc()
        self._times.labels(route).observe(seconds)

    def refusal(self, reason: str) -> None:
        """Count a request that was refused: rate, busy, slow, size, type."""
        self._refused.labels(reason).inc()

    def answer(self, answer: Answer) -> None:
        """Count an answer."""
        self._seconds.labels(answer.source).observe(answer.seconds)
        self._lengths.observe(min(len(answer.history), answer.served.recommender.settings.history_length))
        for band, items in Counted(answer.served.bands[item] for item in answer.history).items():
            self._bands.labels(NAMES[band]).inc(items)
        if answer.ranking == "popularity":
            self._fallbacks.labels("popularity").inc()
        elif answer.source == "none":
            self._fallbacks.labels("no_reasoning").inc()

    def model(self, served: Served) -> None:
        """Tell which model serves from now on."""
        self._version.set(served.version or 0)
        self._models.labels(served.package_hash[:12]).inc()
        as_of = _midnight(served.lineage.get("as_of", ""))
        self._as_of.set(as_of)
        # Ages are whole days, so data are stale once the day after the last that is allowed has begun.
        self._stale_at.set(as_of + (self._max_age_days + 1) * _DAY if as_of else 0)

    def text(self) -> bytes:
        """Return all metrics of all workers in Prometheus' text format."""
        from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess

        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(REGISTRY)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)

    def comparison(self, found: Comparison) -> None:
        """Count what the shadow found."""
        self._overlap.observe(found.overlap)
        self._shadow_seconds.observe(found.seconds)
        if found.correlation is not None:
            self._correlation.observe(found.correlation)


def _midnight(date: str) -> float:
    """Return the Unix time at which a UTC date begins, 0 where there is none: a given split has no dates."""
    try:
        return dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC).timestamp()
    except ValueError:
        return 0.0
