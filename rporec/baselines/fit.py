"""Fitting all baselines: hyper-parameters chosen on valid with models fitted on train, then a refit on train + valid.

Tuning budget: popularity, 4 half-lives; Markov, 4 decays x 3 half-lives (counting.py); EASE, 2 decays x 3 ridges x
3 decays (itemitem.py); SASRec, ids only and text + ids; gSASRec, 2 calibrations (towers.py; params may name fewer);
fusion, weights of tower and log transition counts, 2 smoothings and 3 half-lives, by cross-entropy. Six tower fits in
all, and resumable.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from rporec.baselines.choice import Ranker
from rporec.baselines.counting import Markov, choose_counting, choose_recency, popular
from rporec.baselines.gbce import SampledBinary
from rporec.baselines.itemitem import choose_item_item, fit_item_item
from rporec.baselines.towers import Choice, LateFusion, Sasrec, choose_gsasrec, choose_sasrec, sasrec_fit
from rporec.config import Params
from rporec.rechead.examples import Examples
from rporec.rechead.head import count, fit_head, refit_head
from rporec.rechead.tower import HistoryTower
from rporec.rechead.train import refit_tower

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Baselines:
    """What was fitted.

    Args:
        rankers: by name, fitted on train + valid.
        chosen: of the rankers with variants, which one won and how all did on valid, for metrics.json.
    """

    rankers: dict[str, Ranker]
    chosen: dict[str, dict[str, Any]]


def fit_all(train: pl.DataFrame, valid: pl.DataFrame, items: Tensor, params: Params, folder: Path) -> Baselines:
    """Fit popularity, markov, ease, sasrec, gsasrec and fusion.

    Args:
        train: ROWS.
        valid: ROWS, later than train.
        items: [N, T] vectors of the items' texts, those of the Rechead.
        params: reads rechead (sizes and rates), evaluate (limits of the baselines) and run.seed.
        folder: checkpoints; a killed call goes on from there.
    """
    fitting, held = Examples.from_rows(train), Examples.from_rows(valid)
    everything = Examples.from_rows(pl.concat([train, valid]))
    n_items = len(items)
    decay, half_life = choose_counting(fitting, held, n_items)
    fit = sasrec_fit(params, n_items, everything.longest)
    own = params.evaluate
    sasrec = choose_sasrec(fitting, held, items, fit, own.sasrec_inputs, folder)
    losses = [SampledBinary(own.gsasrec_negatives, calibration) for calibration in own.gsasrec_calibrations]
    gsasrec = choose_gsasrec(fitting, held, sasrec, losses, folder)
    for name, choice in (("SASRec", sasrec), ("gSASRec", gsasrec)):
        tried = "; ".join(f"{variant} {reached:.4f}" for variant, reached in choice.tried.items())
        log.info("%s: %s, by NDCG@10 on valid: %s", name, choice.name, tried)
    before, weights = fit_head(sasrec.fitted.tower, fitting, held, decay)
    head = refit_head(_refit(everything, sasrec, folder / "sasrec-refit"), everything, before)
    sampled = refit_head(_refit(everything, gsasrec, folder / "gsasrec-refit"), everything, before)
    rankers: dict[str, Ranker] = {
        "popularity": popular(everything, n_items, choose_recency(fitting, held, n_items)),
        "markov": Markov(count(everything, n_items, decay, half_life)),
        "ease": _item_item(fitting, held, everything, n_items, params),
        "sasrec": Sasrec(head),
        "gsasrec": Sasrec(sampled),
        "fusion": LateFusion(head, weights),
    }
    return Baselines(rankers, {"sasrec": sasrec.told(), "gsasrec": gsasrec.told()})


def _refit(everything: Examples, choice: Choice, folder: Path) -> HistoryTower:
    return refit_tower(everything, choice.texts, choice.fit, choice.fitted.epochs, folder).tower


def _item_item(train: Examples, valid: Examples, everything: Examples, n_items: int, params: Params) -> Ranker:
    most = params.evaluate.ease_items
    return fit_item_item(everything, n_items, most, choose_item_item(train, valid, n_items, most))
