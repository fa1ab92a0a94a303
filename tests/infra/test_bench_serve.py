"""The bench of the service, at toy size: real servers, every answer by stored or live reasoning, figures of the run."""

from __future__ import annotations

import pytest

from tests import project

TOY = (
    "ingest.market.users=600 ingest.market.items=60 ingest.market.days=60 backbone.width=32 backbone.layers=1 "
    "backbone.heads=2 backbone.vocab_size=400 backbone.max_prompt_tokens=300 backbone.max_completion_tokens=16 "
    "rechead.width=16 rechead.text_dim=16"
)


def _check(line: dict[str, object], requests: int) -> None:
    assert line["failures"] == 0
    assert 0 < line["p50_ms"] <= line["p99_ms"]
    assert line["server_ms"] >= 0
    if "sources" in line:
        assert sum(line["sources"].values()) == requests


def test_it_prints_stored_beside_nothing_and_live():
    told = project.bench(
        "bench_serve",
        *["--requests", "8", "--rounds", "1", "--live", "2", "--large", "0", "--examples", "40"],
        settings=TOY,
    )
    stored, (live, memory) = told[:6], told[6:]
    for concurrency, (nothing, first, again) in zip((1, 32), (stored[:3], stored[3:]), strict=True):
        names = [line["bench"] for line in (nothing, first, again)]
        assert names == ["serve, nothing", "serve, first", "serve, again"]
        for line in (nothing, first, again):
            _check(line, 8)
            assert line["concurrency"] == concurrency
        for line in (first, again):
            assert line["sources"] == {"stored": 8}
            assert line["ratio"] == pytest.approx(line["requests_per_s"] / nothing["requests_per_s"], rel=0.05)
            assert line["p99_ratio"] == pytest.approx(line["p99_ms"] / nothing["p99_ms"], rel=0.05, abs=0.01)
    assert live["bench"] == "serve, live"
    _check(live, 2)
    assert set(live["sources"]) <= {"live", "none"}  # none: a writer of this size may break the form
    assert memory["mb"] > memory["idle_nothing_mb"] > 0
