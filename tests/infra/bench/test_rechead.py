"""The bench of the history tower and of judging, at toy size; and that the plain SASRec in it learns at all."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from infra.bench.rechead import PlainSASRec, user_windows
from tests import project
from tests.rechead import world

TOY = (
    "ingest.market.users=600 ingest.market.items=60 ingest.market.days=60 rechead.width=16 rechead.text_dim=16 "
    "evaluate.resamples=100"
)


def test_it_prints_the_fits_the_ratios_those_of_the_baselines_and_the_seconds_of_judging():
    told = project.bench("rechead", "--epochs", "2", "--rounds", "1", settings=TOY)
    ours, by_row, by_user, ratios, baselines, metrics, whole, comparisons, largest = told
    for line in (ours, by_row, by_user):
        assert line["targets_per_s"] == pytest.approx(line["targets"] / line["seconds"], rel=0.2)
    assert ours["targets"] == by_row["targets"] == ours["epochs"] * ours["rows"]
    assert by_user["targets"] >= by_row["targets"]  # a life's first row may hold items that no row has as a target
    assert ours["positions"] >= ours["epochs"] * ours["groups"]  # each history holds an item at least
    assert ratios["to_by_row"] == pytest.approx(ours["targets_per_s"] / by_row["targets_per_s"], rel=0.05)
    assert ratios["to_by_user"] == pytest.approx(ours["targets_per_s"] / by_user["targets_per_s"], rel=0.05)
    assert (metrics["rows"], metrics["items"]) == (4_500, 3_700)
    assert 0 < metrics["seconds"] < 60
    assert (whole["rankers"], whole["resamples"], whole["users"]) == (11, 100, 2_000)
    assert whole["seconds"] == pytest.approx(whole["ranks_s"] + whole["results_s"], abs=0.002)
    names = {name.removesuffix("_s") for name in baselines if name.endswith("_s")}
    assert names == {
        "rechead", "popularity", "markov", "ease", "item_knn", "sasrec_ids", "sasrec_text_and_ids", "gsasrec"
    }  # fmt: skip
    assert all(baselines[f"{name}_s"] > 0 for name in names - {"popularity", "markov"})  # which may round to 0 here
    assert (baselines["epochs"], baselines["items"]) == (2, ours["items"])
    assert comparisons["resamples"] == 100
    assert (largest["users"], largest["resamples"]) == (5_000, 10_000)
    assert largest["seconds"] > 0
    assert min(comparisons["together_s"], comparisons["one_by_one_s"]) > 0


def test_the_plain_model_ignores_what_stands_behind_a_history():
    torch.manual_seed(0)
    model = PlainSASRec(world.shape(), torch.randn(world.N, 16)).eval()
    last = (torch.tensor([0]), torch.tensor([1]))
    alone = model(torch.tensor([[3, 5]]), torch.tensor([2]), last)
    padded = model(torch.tensor([[3, 5, 9, 1]]), torch.tensor([2]), last)
    torch.testing.assert_close(alone, padded)


def test_windows_hold_every_step_of_a_life_once():
    rows = pl.DataFrame(
        {"user_id": ["a"] * 4, "group": [0, 1, 1, 2], "row_id": [0, 1, 2, 3], "target": [1, 2, 3, 4],
         "history": [[7], [7, 1], [7, 1], [1, 2, 3]]}
    )  # fmt: skip
    windows = user_windows(rows, 2)
    assert [window.tolist() for window in windows] == [[7, 1, 2], [2, 3, 4]]
