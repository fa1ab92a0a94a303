"""How long each baseline takes to be fitted, beside the Rechead's head, on the same rows in the same process.

A part of `make bench-rechead` (`infra.bench.rechead`). One fit each with given settings, as the refit on train + valid
does; towers for the same number of epochs. Choosing on valid multiplies all of them by their budgets, which the
docstrings of `rporec.baselines` state.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from infra.bench.world import World, in_turns
from rporec.baselines.counting import Markov, popular
from rporec.baselines.gbce import SampledBinary
from rporec.baselines.itemitem import DECAYS, READ_DECAYS, RIDGES, SHRINKAGES, Settings, fit_item_item
from rporec.rechead.examples import Examples
from rporec.rechead.head import count
from rporec.rechead.mixed import Like, MixedHead
from rporec.rechead.train import Fit, refit_tower


def fitting(world: World, texts: Tensor, fit: Fit) -> dict[str, Any]:
    """Return the seconds of every fit, one each.

    Args:
        world: rows of `train` are learned from; the head's mixer is fitted on those of `valid`.
        texts: [N, text_dim].
        fit: of the tower of the Rechead's head.
    """
    train, held = (Examples.from_rows(world.parts[part]) for part in ("train", "valid"))
    n_items, decay = len(texts), world.params.rechead.transition_decay

    def tower(own: Fit, vectors: Tensor | None) -> None:
        with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
            refit_tower(train, vectors, own, own.epochs, Path(folder))

    def head() -> None:
        with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
            fitted = refit_tower(train, texts, fit, fit.epochs, Path(folder) / "tower").tower
            MixedHead.fit(fitted, train, held, Like(texts, decay, fit.seed), Path(folder))

    own = world.params.evaluate
    sampled = SampledBinary(own.gsasrec_negatives, own.gsasrec_calibrations[0])
    ways: dict[str, Callable[[], object]] = {
        "rechead": head,
        "popularity": lambda: popular(train, n_items, None),
        "markov": lambda: Markov(count(train, n_items, decay, None)),
        "ease": lambda: fit_item_item(train, n_items, n_items, Settings(DECAYS[0], RIDGES[0], READ_DECAYS[0])),
        "item_knn": lambda: fit_item_item(train, n_items, 0, Settings(DECAYS[0], SHRINKAGES[0], READ_DECAYS[0])),
        "sasrec_ids": lambda: tower(replace(fit, shape=replace(fit.shape, text_dim=0)), None),
        "sasrec_text_and_ids": lambda: tower(fit, texts),
        "gsasrec": lambda: tower(replace(fit, loss=sampled), texts),
    }
    seconds = {f"{name}_s": round(taken, 3) for name, taken in in_turns(ways, 1, warm_up=False).items()}
    return {**seconds, "groups": len(train), "rows": len(train.targets), "items": n_items, "epochs": fit.epochs}
