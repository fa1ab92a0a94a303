"""metrics.json: complete, equal for equal ranks, and calm about a day without events."""

import json

import numpy as np
import polars as pl
import pytest

from rporec.evaluation.frames import oracle_rows
from rporec.evaluation.results import RANKERS, Inputs, form, hit_curves, results
from rporec.evaluation.slices import label_rows, slice_masks
from rporec.tables import COMPLETIONS, ORACLE, empty, ranks_table
from tests.evaluation import toy


def inputs(count: int) -> Inputs:
    test, known = toy.rows(count, users=6), toy.rows(30, users=4, start=500, slice_name="fit")
    frame, confidence, _ = toy.ranked(test, known)
    return Inputs(frame, confidence, toy.completions(test, right=True), None, toy.N, toy.CHOSEN)


def test_every_ranker_has_every_metric_and_rporec_is_compared_with_all_others() -> None:
    found = results(inputs(60), toy.PARAMS, 0)
    wanted = {f"{name}@{k}" for name in ("hr", "ndcg") for k in (5, 10, 20)} | {"mrr", "n"}
    assert set(found["rankers"]) == set(RANKERS)
    assert all(set(means) == wanted and means["n"] == 60 for means in found["rankers"].values())
    assert set(found["comparisons"]) == set(RANKERS) - {"rporec"}
    better = found["comparisons"]["reasoning_removed"]["ndcg@10"]
    assert better["low"] > 0
    difference = found["rankers"]["rporec"]["ndcg@10"] - found["rankers"]["reasoning_removed"]["ndcg@10"]
    assert better["difference"] == pytest.approx(difference)
    low, high = found["intervals"]["rporec"]
    assert low < found["rankers"]["rporec"]["ndcg@10"] < high
    assert found["oracle"] is None


def test_the_same_ranks_give_the_same_bytes() -> None:
    one, two = (json.dumps(results(inputs(40), toy.PARAMS, 3), sort_keys=True, allow_nan=False) for _ in range(2))
    assert one == two


def test_a_day_without_events_gives_unknown_and_no_error() -> None:
    found = results(inputs(0), toy.PARAMS, 0)
    assert found["rankers"]["rporec"] == {**dict.fromkeys(found["rankers"]["rporec"]), "n": 0}
    assert found["comparisons"]["fusion"]["ndcg@10"]["difference"] is None
    assert found["slices"] == {}
    assert found["calibration"] == {"ece@10": None, "bins": []}
    assert found["form"] == {"well_formed": None, "grounded": None, "n": 0}
    json.dumps(found, allow_nan=False)
    assert hit_curves(inputs(0).ranks).is_empty()


def test_form_counts_grounding_among_the_well_formed() -> None:
    table = toy.completions(toy.rows(28, users=3), right=True).with_columns(
        grounded=pl.when("well_formed").then(0.5).otherwise(1.0)
    )
    assert form(table) == {"well_formed": pytest.approx(12 / 14), "grounded": 0.5, "n": 14}
    assert form(empty(COMPLETIONS))["grounded"] is None


def test_slices_part_the_rows() -> None:
    ranks = inputs(60).ranks
    masks = slice_masks(ranks)
    for family in ("history_", "item_", "user_"):
        together = np.sum([mask for name, mask in masks.items() if name.startswith(family)], axis=0)
        assert together.tolist() == [1] * ranks.height


def test_new_means_not_seen_in_what_the_model_was_fitted_on() -> None:
    known = toy.rows(4, users=1, slice_name="fit")  # user u0; targets 0-3; histories of items 0 and 1
    test = toy.rows(12, users=3)
    labels = label_rows(test, known)
    assert labels["item_new"].to_list() == [target > 3 for target in test["target"]]
    assert labels["user_new"].to_list() == [user != "u0" for user in test["user_id"]]
    assert labels["target_train_count"].to_list() == [int(target <= 3) for target in test["target"]]
    assert labels["row_id"].to_list() == test["row_id"].to_list()


def test_hit_curves_rise_with_k() -> None:
    curve = hit_curves(inputs(60).ranks)["rporec"].to_list()
    assert curve == sorted(curve)
    assert curve[-1] == pytest.approx(1.0)  # 50 is above the catalogue's size


def test_the_oracle_is_joined_on_the_event() -> None:
    test = toy.rows(4, users=2)
    ids = toy.items()["item_id"].to_list()
    oracle = pl.DataFrame(
        {"user_id": ["u0", "u1"], "item_id": ["i01", "i02"], "timestamp": [1000, 1001], "ndcg": [0.3, 0.5]},
        schema=ORACLE.columns,
    )
    assert oracle_rows(test, ids, oracle).tolist() == [0.3, 0.5]
    assert oracle_rows(test, ids, empty(ORACLE)) is None


def test_the_ranks_table_keeps_its_contract() -> None:
    assert dict(inputs(10).ranks.schema) == ranks_table(list(RANKERS)).columns
