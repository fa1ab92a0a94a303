"""Scoring an older package on tonight's rows: its own reasoning, its own Rechead, tonight's catalogue.

For comparing a challenger with the champion as the champion serves. Not for the challenger itself (stage evaluate).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rporec.evaluation.metrics import Floats, Ranks
from rporec.evaluation.scoring import TestSet, rank_rows
from rporec.progress import Progress
from rporec.recommender import Recommender

# Prompts written together: enough to keep the cores busy, few enough for their key-value caches.
_TOGETHER = 64


def rank_package(recommender: Recommender, test: TestSet, item_ids: Sequence[str]) -> Ranks:
    """Rank the test rows' targets with a package, among tonight's N items.

    Item ids are mapped between the catalogues. History items that the package does not know are left out, as its
    service leaves them out; catalogue items that it does not know tie at the bottom: it could not have recommended
    them.

    Args:
        recommender: the loaded package.
        test: tonight's rows, in tonight's item indices.
        item_ids: tonight's catalogue, N ids in index order.
    """
    there = recommender.catalogue.index
    place = np.array([there.get(item_id, -1) for item_id in item_ids])  # [N] index there, -1 unknown
    known = place >= 0
    with Progress("scoring the champion", len(test.groups), "groups") as progress:

        def score(part: slice) -> dict[str, Floats]:
            scores = np.full((len(test.histories[part]), len(item_ids)), -np.inf)  # [e, N]
            for start in range(part.start, part.stop, _TOGETHER):
                histories = test.histories[start : min(start + _TOGETHER, part.stop)]
                mapped = [[int(place[item]) for item in history if known[item]] for history in histories]
                lines = slice(start - part.start, start - part.start + len(mapped))
                scores[lines, known] = _scores(recommender, mapped)[:, place[known]]
                progress.advance(len(mapped))
            return {"champion": scores}

        return rank_rows(test, ["champion"], score, len(item_ids))["champion"]


def _scores(recommender: Recommender, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Return the package's scores [b, its N]: as served, from popularity where nothing of the history is known."""
    scores = np.tile(recommender.popularity, (len(histories), 1))
    filled = [place for place, history in enumerate(histories) if history]
    if filled:
        cut = recommender.settings.history_length
        given = [list(histories[place])[-cut:] for place in filled]
        reasoning = [[parsed] for parsed in recommender.write_reasoning(given)]
        scores[filled] = recommender.rechead.score(given, reasoning).double().numpy()
    return scores
