"""Of the variants of SASRec and gSASRec, the one that ranks valid better is taken, whichever it is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rporec.baselines.gbce import SampledBinary
from rporec.baselines.towers import Choice, choose_gsasrec, choose_sasrec
from rporec.rechead.examples import Examples
from rporec.rechead.train import choose_tower, valid_ndcg
from tests.rechead import world

torch.set_num_threads(1)
IDS_ONLY = world.fit(shape=world.shape(text_dim=0), epochs=4)


@pytest.fixture(scope="module")
def parts() -> tuple[Examples, Examples]:
    return Examples.from_rows(world.rows(300, 1)), Examples.from_rows(world.rows(150, 2, 10_000))


def texts_that_tell_brands() -> Tensor:
    return world.reader().items


def the_same_text_for_all() -> Tensor:
    """Its projection moves all items alike, so that it is in the way of the ids."""
    return torch.full((world.N, 16), 0.25)


@pytest.mark.parametrize(
    ("texts", "better", "worse"),
    [(texts_that_tell_brands(), "text and ids", "ids"), (the_same_text_for_all(), "ids", "text and ids")],
    ids=["texts tell", "texts say nothing"],
)
def test_sasrec_is_the_variant_that_ranks_valid_better(parts, texts, better, worse, tmp_path):
    chosen = choose_sasrec(*parts, texts, IDS_ONLY, ("ids", "text"), tmp_path)
    assert chosen.tried[better] > chosen.tried[worse] + 0.02
    assert chosen.name == better
    assert (chosen.texts is None) == (better == "ids") == (chosen.fit.shape.text_dim == 0)
    assert valid_ndcg(chosen.fitted.tower, parts[1]) == pytest.approx(chosen.tried[better])
    assert chosen.told() == {
        "variant": better, "epochs": chosen.fitted.epochs, "valid_ndcg@10": dict(chosen.tried),
    }  # fmt: skip


@pytest.mark.parametrize("texts", [None, texts_that_tell_brands()], ids=["ids", "texts"])
@pytest.mark.parametrize("order", [(0.75, 1.0), (1.0, 0.75)])
def test_gsasrec_is_the_calibration_that_ranks_valid_better_on_the_items_of_sasrec(parts, texts, order, tmp_path):
    """With one item drawn a target, the calibrations lie apart; the better one is taken, be it first or last."""
    shape = world.shape(text_dim=0 if texts is None else 16)
    fit = replace(IDS_ONLY, shape=shape, learning_rate=0.1)
    like = Choice("as given", fit, texts, fitted=choose_tower(*parts, texts, replace(fit, epochs=1), tmp_path / "like"))
    chosen = choose_gsasrec(*parts, like, [SampledBinary(1, one) for one in order], folder=tmp_path)
    reached = dict(zip(order, chosen.tried.values(), strict=True))
    better, worse = sorted(order, key=reached.__getitem__, reverse=True)
    assert reached[better] > reached[worse]
    assert chosen.fit.loss == SampledBinary(1, better)
    assert chosen.name == f"as given, calibration {better:g}"
    assert chosen.texts is texts
    assert valid_ndcg(chosen.fitted.tower, parts[1]) == pytest.approx(reached[better])
