"""The bench of the data stages: both stages run, the figures are those of the run, growth by hand."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from infra.bench import data
from tests.project import ROOT, environment


def test_growth_is_the_slope_of_logarithms():
    def found(rows, seconds):
        return {"rows": rows, "seconds": seconds}

    assert data.growth([found(10, 1.0), found(100, 10.0), found(1000, 100.0)]) == 1.0
    assert data.growth([found(10, 1.0), found(1000, 10_000.0)]) == 2.0


def test_it_prints_a_line_a_size_and_the_growth():
    done = subprocess.run(
        [sys.executable, "-m", "infra.bench.data", "--rows", "5000", "20000"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["rows"] for line in lines[:2]] == [pytest.approx(5_000, rel=0.1), pytest.approx(20_000, rel=0.1)]
    for line in lines[:2]:
        assert line["rows_per_s"] == pytest.approx(line["rows"] / line["seconds"], rel=0.1)
        assert 50 < line["peak_mb"] < 1_000
    assert set(lines[2]) == {"exponent", "exponent_of_last_step"}
