"""All baselines on a toy market: chosen on valid, refitted on both, above popularity, the same after a kill."""

import re

import numpy as np
import polars as pl
import pytest
import torch

from rporec import config
from rporec.baselines import fit as fitting
from rporec.baselines import fit_all
from rporec.baselines.counting import choose_recency, popular
from rporec.evaluation.metrics import ndcg, rank_targets
from rporec.rechead.examples import Examples
from tests.kills import killed
from tests.rechead import world

torch.set_num_threads(1)
HISTORIES = [[3], [1, 2, 3], []]


@pytest.fixture(scope="module")
def params() -> config.Params:
    from tests.project import ROOT

    base = config.load(ROOT / "params.yaml")
    head = base.rechead.model_copy(update={"text_dim": 16, "width": 16, "batch_size": 32, "learning_rate": 0.01})
    tests = base.evaluate.model_copy(update={"sasrec_epochs": 6, "sasrec_patience": 2, "gsasrec_negatives": 20})
    return base.model_copy(update={"rechead": head, "evaluate": tests})


@pytest.fixture(scope="module")
def parts() -> tuple[pl.DataFrame, pl.DataFrame]:
    return world.rows(500, seed=1), world.rows(150, seed=2, first=10_000, label="valid")


@pytest.fixture(scope="module")
def made(params, parts, tmp_path_factory) -> fitting.Baselines:
    return fit_all(*parts, world.reader().items, params, tmp_path_factory.mktemp("baselines"))


@pytest.fixture(scope="module")
def rankers(made):
    return made.rankers


def test_it_tells_which_variants_its_rankers_are(made):
    sasrec, gsasrec = made.chosen["sasrec"], made.chosen["gsasrec"]
    assert set(made.chosen) == {"sasrec", "gsasrec"}
    assert set(sasrec["valid_ndcg@10"]) == {"ids", "text and ids"}
    assert len(gsasrec["valid_ndcg@10"]) == 2
    assert all(name.startswith(sasrec["variant"] + ", calibration") for name in gsasrec["valid_ndcg@10"])
    for found in made.chosen.values():
        assert found["valid_ndcg@10"][found["variant"]] == max(found["valid_ndcg@10"].values())
    for name in made.chosen:
        texts = made.rankers[name].head.tower.shape.text_dim
        assert (texts > 0) == sasrec["variant"].startswith("text")


def test_all_beat_popularity_on_unseen_rows(rankers):
    held = Examples.from_rows(world.rows(300, seed=5))
    reached = {
        name: float(ndcg(rank_targets(ranker.scores(held.histories), held.owner, held.targets), 10).mean())
        for name, ranker in rankers.items()
    }
    assert list(reached) == ["popularity", "markov", "ease", "sasrec", "gsasrec", "fusion"]
    assert all(reached[name] > reached["popularity"] + 0.05 for name in list(reached)[1:]), reached
    assert reached["fusion"] > max(reached["markov"], reached["sasrec"]) - 0.02


def test_scores_have_the_shape_and_type_of_the_contract(rankers):
    for ranker in rankers.values():
        scores = ranker.scores(HISTORIES)
        assert scores.shape == (3, world.N)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert np.allclose(ranker.scores(HISTORIES[1:2]), scores[1:2], atol=1e-4)


def test_the_refit_has_seen_valid(rankers, parts):
    train, valid = (Examples.from_rows(part) for part in parts)
    recency = choose_recency(train, valid, world.N)
    counted = popular(Examples.from_rows(pl.concat(parts)), world.N, recency)
    assert np.array_equal(rankers["popularity"].counts, counted.counts)
    assert rankers["ease"].popularity.sum() == len(train.targets) + len(valid.targets)


def test_a_killed_call_goes_on_to_the_same_scores(rankers, params, parts, tmp_path, caplog):
    caplog.set_level("INFO")
    with killed(fitting, "refit_tower"):
        fit_all(*parts, world.reader().items, params, tmp_path)
    again = fit_all(*parts, world.reader().items, params, tmp_path).rankers
    for name, ranker in rankers.items():
        assert np.array_equal(again[name].scores(HISTORIES), ranker.scores(HISTORIES)), name
    assert re.search(r"SASRec: (text and )?ids, by NDCG@10 on valid: ids 0\.\d{4}; text and ids 0\.\d{4}", caplog.text)
