"""One run of reinforcement learning from start, or from where it was killed, to the best policy.

Everything that randomness touches is a function of seed and step, and every step's record is a file of its own, so the
policy that comes out is the same bytes however often the run was interrupted.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from rporec.align.checkpoints import newest_whole, save_policy
from rporec.align.curves import Journal, Row, held_row
from rporec.align.ending import best_step, why_ended
from rporec.align.heldout import HeldOut
from rporec.align.scorer import RewardScorer
from rporec.align.trainer import Policy, Setup
from rporec.align.watch import Watcher
from rporec.backbone.source import Writer
from rporec.config import AlignParams
from rporec.files import recover_folder
from rporec.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a run brought.

    Args:
        folder: the policy of the best held-out step (safetensors and tokenizer), below the work folder; the backbone
            where every step had collapsed.
        best: that step; 0 = the backbone.
        rows: one row a step, step 0 first (the backbone's held-out check).
        rollouts: a sample of rollouts, rows of the ROLLOUTS table.
        ended: why it stopped before `align.steps` (`rporec.align.ending.why_ended`), "" if it did not.
    """

    folder: Path
    best: int
    rows: list[Row]
    rollouts: list[dict[str, Any]]
    ended: str


def train_policy(
    params: AlignParams,
    setup: Setup,
    writer: Writer,
    prompts: Sequence[tuple[int, str]],
    scorer: RewardScorer,
    heldout: HeldOut,
) -> Trained:
    """Train the policy.

    Args:
        params: `steps` is at least 1.
        setup: backbone folder, work folder, seed, L, device.
        writer: the backbone, as loaded from `setup.backbone`.
        prompts: (group, prompt) in the order of the steps, `steps x prompts_per_step`.
        scorer: the frozen reward; knows these groups.
        heldout: the measure that chooses the step.

    Raises:
        InputError: no completion of the first steps is well formed, or the loss is not a number.
    """
    recover_folder(_best(setup))
    resumed = newest_whole(setup.work / "checkpoints")
    start = resumed[0] if resumed else 0
    journal = Journal(setup.work / "journal")
    journal.forget_after(start)
    if not journal.rows():
        journal.write(0, held_row(0, heldout.check(writer)), [])
    finished = start >= params.steps or bool(why_ended(journal.rows(), params))
    if not finished:
        if resumed:
            log.info("align: going on from step %d", start)
        disable_progress_bar()  # transformers' own, one a saved file
        with Progress("align", params.steps, "steps") as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between TRL's and transformers' names of one setting
            progress.skip(start)
            policy = Policy(params, setup, prompts, writer.tokenizer, scorer)
            _watch(policy, params, journal, heldout, progress)
            policy.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)
    rows = journal.rows()
    best, ended = best_step(rows, params), why_ended(rows, params)
    if ended:
        log.info(
            "align: ended after step %d of %d: %s; the best is step %d", rows[-1]["step"], params.steps, ended, best
        )
    return Trained(_best(setup) if best else setup.backbone, best, rows, journal.rollouts(), ended)


def _watch(policy: Policy, params: AlignParams, journal: Journal, heldout: HeldOut, progress: Progress) -> None:
    def keep() -> None:
        save_policy(policy.model, policy.writer.tokenizer, _best(policy.setup))

    watcher = Watcher(params, journal, lambda: heldout.check(policy.writer), keep, progress)
    policy.listeners.append(watcher.hear)
    policy.add_callback(watcher)


def _best(setup: Setup) -> Path:
    return setup.work / "best"
