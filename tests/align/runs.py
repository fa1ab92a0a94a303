"""A small run of alignment on the toy world."""

from __future__ import annotations

from pathlib import Path

import torch

from rporec.align.run import Trained, train_policy
from rporec.align.trainer import prompt_order
from rporec.config import AlignParams
from tests.align import world

TARGET = 5


def small(**changes: object) -> AlignParams:
    return world.align_params(**{"steps": 6, "eval_every": 2, "checkpoint_every": 2, **changes})


def run(
    backbone: Path, work: Path, params: AlignParams, head: world.PlantedHead | None = None, device: str = "cpu"
) -> Trained:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    work.mkdir(parents=True, exist_ok=True)
    setup = world.setup(backbone, work, device)
    prompts = [(g, world.prompt(g)) for g in prompt_order(16, params, setup.seed)]
    scorer = world.scorer(params, world.facts(TARGET))
    if head is not None:
        scorer.head = head
    return train_policy(params, setup, world.writer(backbone, device), prompts, scorer, world.heldout(TARGET))
