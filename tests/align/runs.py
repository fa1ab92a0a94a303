"""A small run of alignment on the toy world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rporec.align.curves import Journal
from rporec.align.run import Trained, train_policy
from rporec.align.trainer import prompt_order
from rporec.config import AlignParams
from tests.align import world

TARGET = 5
CHECKPOINTED = {"steps": 4, "eval_every": 2, "checkpoint_every": 2}


def small(**changes: object) -> AlignParams:
    return world.align_params(**{"steps": 6, "eval_every": 2, "checkpoint_every": 2, **changes})


def run(
    backbone: Path,
    work: Path,
    params: AlignParams,
    head: world.PlantedHead | None = None,
    device: str = "cpu",
    made_of: dict[str, str] | None = None,
) -> Trained:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    work.mkdir(parents=True, exist_ok=True)
    setup = replace(world.setup(backbone, work, device), made_of=made_of or {})
    prompts = [(g, world.prompt(g)) for g in prompt_order(16, params, setup.seed)]
    scorer = world.scorer(params, world.facts(TARGET))
    if head is not None:
        scorer.head = head
    return train_policy(params, setup, world.writer(backbone, device), prompts, scorer, world.heldout(TARGET))


class Stopped(Exception):
    """In the place of a kill, where one process is enough."""


def run_until(step: int, backbone: Path, work: Path, params: AlignParams) -> None:
    """Run, and stop at the moment when this step is about to be written down."""
    write = Journal.write

    def stopping(self: Journal, at: int, row: dict[str, Any], rollouts: list[dict[str, Any]]) -> None:
        if at == step:
            raise Stopped
        write(self, at, row, rollouts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "write", stopping)
        with pytest.raises(Stopped):
            run(backbone, work, params)
