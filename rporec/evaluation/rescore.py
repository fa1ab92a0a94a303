"""Scoring packages as they serve: each with its own reasoning, written greedily within the service's budget of tokens.

For comparing a challenger with the champion by one and the same path. Not the evaluation of a run's rankers, which
reads stored completions (stage evaluate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rporec.evaluation import results
from rporec.evaluation.metrics import Floats, Ranks, metric_rows
from rporec.evaluation.scoring import TestSet, rank_rows
from rporec.progress import Progress
from rporec.recommender import Recommender

# Prompts written together: enough to keep the cores busy, few enough for their key-value caches.
_TOGETHER = 64


@dataclass(frozen=True)
class Served:
    """What a package does with n rows: the ranks of their targets, and the share of well-formed reasoning.

    The share is None where nothing was written: no history held an item that the package knows.
    """

    ranks: Ranks
    well_formed: float | None

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """NDCG@10 per row [n]."""
        return metric_rows(self.ranks, (10,))[results.PRIMARY]


def score_packages(
    folders: Mapping[str, Path], test: TestSet, item_ids: Sequence[str], threads: int, vectors: Path | None
) -> dict[str, Served]:
    """Score packages on the same rows, one after the other, each alone in memory.

    Args:
        folders: what each is called, and its folder.
        test: the rows, in tonight's item indices.
        item_ids: tonight's catalogue, N ids in index order.
        threads: CPU threads.
        vectors: where the vectors of a pretrained text encoder are kept; None = nowhere.

    Raises:
        InputError: a package cannot be loaded.
    """
    return {
        name: rank_package(Recommender.load(folder, threads, vectors), test, item_ids, name)
        for name, folder in folders.items()
    }


def rank_package(recommender: Recommender, test: TestSet, item_ids: Sequence[str], name: str) -> Served:
    """Rank the test rows' targets with a package, among tonight's N items.

    Item ids are mapped between the catalogues. History items that the package does not know are left out, as its
    service leaves them out; catalogue items that it does not know tie at the bottom: it could not have recommended
    them.

    Args:
        recommender: the loaded package.
        test: tonight's rows, in tonight's item indices.
        item_ids: tonight's catalogue, N ids in index order.
        name: what progress calls it.
    """
    there = recommender.catalogue.index
    place = np.array([there.get(item_id, -1) for item_id in item_ids])  # [N] index there, -1 unknown
    known = place >= 0
    forms: list[bool] = []
    with Progress(f"scoring the {name} as it serves", len(test.groups), "groups") as progress:

        def score(part: slice) -> dict[str, Floats]:
            scores = np.full((len(test.histories[part]), len(item_ids)), -np.inf)  # [e, N]
            for start in range(part.start, part.stop, _TOGETHER):
                histories = test.histories[start : min(start + _TOGETHER, part.stop)]
                mapped = [[int(place[item]) for item in history if known[item]] for history in histories]
                lines = slice(start - part.start, start - part.start + len(mapped))
                found, formed = _scores(recommender, mapped)
                scores[lines, known] = found[:, place[known]]
                forms.extend(formed)
                progress.advance(len(mapped))
            return {name: scores}

        ranks = rank_rows(test, [name], score, len(item_ids))[name]
    return Served(ranks, float(np.mean(forms)) if forms else None)


def _scores(recommender: Recommender, histories: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.float64], list[bool]]:
    """Return the scores [b, its N] as served, from popularity where nothing of the history is known, and the forms."""
    scores = np.tile(recommender.popularity, (len(histories), 1))
    filled = [place for place, history in enumerate(histories) if history]
    formed: list[bool] = []
    if filled:
        cut = recommender.settings.history_length
        given = [list(histories[place])[-cut:] for place in filled]
        reasoning = [[parsed] for parsed in recommender.write_reasoning(given)]
        formed = [samples[0].well_formed for samples in reasoning]
        scores[filled] = recommender.rechead.score(given, reasoning).double().numpy()
    return scores, formed
