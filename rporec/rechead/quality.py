"""How a Rechead does on held-out rows, with and without reasoning. The test rows belong to `rporec.evaluation`."""

from __future__ import annotations

import numpy as np

from rporec.evaluation.metrics import hit_rate, ndcg, rank_targets
from rporec.rechead.model import Rechead
from rporec.rechead.reasoning import Told

_CUTOFF = 10
_CELLS = 1 << 23  # scores held at once


def qualities(rechead: Rechead, held: Told) -> dict[str, dict[str, float]]:
    """Return ndcg@10 and hr@10 of each arm: `reasoning`, `reasoning_removed`, `no_reasoning`."""
    examples = held.examples
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    step = max(1, _CELLS // rechead.n_items)
    for start in range(0, len(examples), step):
        histories = examples.histories[start : start + step]
        rows = np.flatnonzero((examples.owner >= start) & (examples.owner < start + step))
        logits = rechead.history_logits(histories)
        scores = {
            "reasoning": rechead.add_reasoning(logits, held.samples[start : start + step]),
            "reasoning_removed": rechead.add_reasoning(logits, [[] for _ in histories]),
            "no_reasoning": rechead.no_reasoning(logits),
        }
        for arm, log_p in scores.items():
            ranks = rank_targets(log_p.numpy(), examples.owner[rows] - start, examples.targets[rows])
            kept = found.setdefault(arm, {"ndcg@10": [], "hr@10": []})
            kept["ndcg@10"].append(ndcg(ranks, _CUTOFF))
            kept["hr@10"].append(hit_rate(ranks, _CUTOFF))
    return {
        arm: {name: float(np.concatenate(parts).mean()) for name, parts in metrics.items()}
        for arm, metrics in found.items()
    }
