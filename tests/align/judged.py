"""What the tests of the reward judge with: a catalogue with facts of forty groups, and heads of a planted rank."""

from __future__ import annotations

import numpy as np
import torch
import yaml

from rporec.align.scorer import Facts, RewardScorer
from rporec.catalogue import Catalogue
from rporec.rechead.model import Rechead
from tests.align import world
from tests.release import world as shop

RANK_REWARDS = ("ndcg", "ndcg_1000", "reciprocal_log", "log_probability")
DEFAULT = yaml.safe_load((shop.ROOT / "params.yaml").read_text())["align"]["weights"]
GROUNDED = {**DEFAULT, "grounded": 0.2}
V = 300  # tokens of the policy's vocabulary
CATALOGUE = Catalogue.from_table(shop.items())
GROUPS = 40


def facts(group: int) -> Facts:
    """Histories of one to five items, one or two targets, every fourth group without a reference."""
    rng = np.random.default_rng(group)
    history = tuple(rng.integers(0, shop.N, 1 + group % 5).tolist())
    brand = CATALOGUE.brand(history[-1])
    reference = f"The buyer stays with {brand}, and the last item was a {CATALOGUE.category(history[-1])}."
    targets = tuple(rng.choice(shop.N, 1 + group % 2, replace=False).tolist())
    known = reference if group % 4 else ""
    return Facts(history, targets, known, len(reference.split()), history[-3:], f"often next:\n- {brand} lamp (3)")


FACTS = {group: facts(group) for group in range(GROUPS)}


def scorer(head: Rechead, **changes: object) -> RewardScorer:
    return RewardScorer(head, head.encoder, CATALOGUE, FACTS, world.align_params(**changes), V)


class Blind:
    """Puts the targets of every group at one rank, whatever the text; or ranks at random, surer or less sure."""

    def __init__(self, n_items: int, rank: int | None, sharpness: float = 1.0) -> None:
        self.n_items, self.rank, self.sharpness, self.rng = n_items, rank, sharpness, np.random.default_rng(5)

    def history_logits(self, histories):
        drawn = self.rng.standard_normal((len(histories), self.n_items))
        if self.rank is not None:  # item i is ranked i places behind item -rank
            drawn = np.tile(-((np.arange(self.n_items) + self.rank) % self.n_items), (len(histories), 1)) / 4
        return torch.from_numpy(drawn * self.sharpness)

    def add_reasoning(self, logits, reasoning):
        assert len(logits) == len(reasoning)
        return logits.log_softmax(dim=1)
