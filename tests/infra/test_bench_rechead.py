"""The bench of the history tower and of judging, at toy size; and that the plain SASRec in it learns at all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from infra.bench_rechead import PlainSASRec
from tests.project import ROOT, environment
from tests.rechead import world

TOY = (
    "ingest.market.users=600 ingest.market.items=60 ingest.market.days=60 rechead.width=16 rechead.text_dim=16 "
    "evaluate.resamples=100"
)


def test_it_prints_both_fits_the_ratio_and_the_seconds_of_judging():
    words = ["--epochs", "2", "--rounds", "1", "--threads", "1", "--set", TOY]
    done = subprocess.run(
        [sys.executable, "-m", "infra.bench_rechead", *words],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    ours, plain, ratio, metrics, comparisons = [json.loads(line) for line in done.stdout.splitlines()]
    for line in (ours, plain):
        assert line["positions_per_s"] == pytest.approx(line["positions"] / line["seconds"], rel=0.2)
        assert line["positions"] >= line["epochs"] * line["groups"]  # each history holds an item at least
    assert ours["positions"] == plain["positions"]
    assert ratio["ratio"] == pytest.approx(ours["positions_per_s"] / plain["positions_per_s"], rel=0.05)
    assert (metrics["rows"], metrics["items"]) == (4_500, 3_700)
    assert 0 < metrics["seconds"] < 60
    assert comparisons["resamples"] == 100
    assert 0 < comparisons["together_s"] < comparisons["one_by_one_s"]


def test_the_plain_model_ignores_what_stands_behind_a_history():
    torch.manual_seed(0)
    model = PlainSASRec(world.shape(), torch.randn(world.N, 16)).eval()
    alone = model(torch.tensor([[3, 5]]), torch.tensor([2]))
    padded = model(torch.tensor([[3, 5, 9, 1]]), torch.tensor([2]))
    torch.testing.assert_close(alone, padded)
