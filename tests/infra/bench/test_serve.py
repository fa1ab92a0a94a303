"""The bench of the service, at toy size: real servers, every answer by stored or live reasoning, figures of the run."""

from __future__ import annotations

import pytest

from infra.bench.serve import missed
from tests import project

TOY = (
    "ingest.market.users=600 ingest.market.items=60 ingest.market.days=60 backbone.width=32 backbone.layers=1 "
    "backbone.heads=2 backbone.vocab_size=400 backbone.max_prompt_tokens=300 backbone.max_completion_tokens=16 "
    "rechead.width=16 rechead.text_dim=16"
)


def _check(figures: dict[str, object], requests: int) -> None:
    assert figures["failures"] == 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["server_ms"] >= 0
    if "sources" in figures:
        assert sum(figures["sources"].values()) == requests


def test_it_prints_stored_beside_nothing_live_and_large():
    (told,) = project.bench(
        "serve",
        *["--requests", "8", "--rounds", "1", "--live", "2", "--large", "200", "--examples", "40"],
        settings=TOY,
    )
    assert list(told["stored"]) == ["concurrency_1", "concurrency_32"]
    for ways in told["stored"].values():
        assert list(ways) == ["nothing", "first", "again"]
        for name, figures in ways.items():
            _check(figures, 8)
            if name != "nothing":
                assert figures["sources"] == {"stored": 8}
                beside = ways["nothing"]
                assert figures["ratio"] == pytest.approx(figures["requests_per_s"] / beside["requests_per_s"], rel=0.05)
                assert figures["p99_ratio"] == pytest.approx(figures["p99_ms"] / beside["p99_ms"], rel=0.05, abs=0.01)
    _check(told["live"], 2)
    assert set(told["live"]["sources"]) <= {"live", "none"}  # none: a writer of this size may break the form
    for name, requests in (("first", 4), ("again", 4), ("scored", 2)):
        _check(told["large"][name], requests)
        assert told["large"][name]["sources"] == {"stored": requests}
    assert 0 < told["items"] <= 60 < told["large"]["items"] <= 200
    assert told["memory"]["mb"] > told["memory"]["nothing_mb"] > 0


def test_it_says_what_was_missed():
    fine = {"ratio": 0.6, "p99_ratio": 3.0}
    figures = {
        "stored": {"concurrency_1": {"first": fine, "again": fine}},
        "live": {"p95_ms": 500.0},
        "large": {name: {"p50_ms": 25.0} for name in ("first", "again", "scored")},
    }
    assert missed(figures) == []
    figures["stored"]["concurrency_32"] = {"first": fine, "again": {"ratio": 0.59, "p99_ratio": 3.1}}
    figures["live"], figures["large"]["scored"] = {"p95_ms": 501.0}, {"p50_ms": 26.0}
    assert missed(figures) == [
        "stored, concurrency_32, again: ratio 0.59, at least 0.6",
        "stored, concurrency_32, again: p99_ratio 3.1, at most 3.0",
        "live: p95 501.0 ms, at most 500.0",
        "large, scored: p50 26.0 ms, at most 25.0",
    ]
