"""The soak of the service, for seconds: a real registry, three swaps under load, no failed request."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bench.serve_client import Load
from infra.bench.soak import Soaked, report
from tests import project
from tests.infra.bench.test_serve import TOY
from tests.release.fixtures import *  # noqa: F403


@pytest.mark.platform
def test_three_swaps_fail_no_request(template: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(template, home / "mlflow.db")
    words = ["--seconds", "40", "--histories", "20", "--examples", "40", "--home", str(home), "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "infra.bench.soak", *words, "--set", TOY],
        cwd=project.ROOT, env=project.environment(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    able, soaked = (json.loads(line) for line in done.stdout.splitlines())
    assert able["failures"] == soaked["failures"] == 0, soaked["first_failures"]
    assert soaked["requests"] >= 0.9 * 40 * 0.5 * able["requests_per_s"] * 0.5
    assert soaked["last_version"] == 1 + soaked["swaps"] == 4
    assert len(soaked["memory_mb"]) == 8


def _soaked(memory: list[float], failures: list[str]) -> Soaked:
    return Soaked(Load(latencies=[0.1], failures=failures, seconds=1.0), memory, [4])


@pytest.mark.parametrize(
    ("memory", "failures"), [([100.0, 120.0, 105.1], []), ([100.0, 100.0], ["500: broken"])], ids=["memory", "failure"]
)
def test_growth_of_memory_or_a_failed_request_is_an_error(memory: list[float], failures: list[str]) -> None:
    with pytest.raises(SystemExit):
        report(_soaked(memory, failures), 1.0)


def test_what_comes_and_goes_is_no_growth(capsys: pytest.CaptureFixture[str]) -> None:
    report(_soaked([100.0, 150.0, 104.9], []), 1.0)
    assert '"memory_growth": 0.049' in capsys.readouterr().out
