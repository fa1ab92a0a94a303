"""One run of reinforcement learning from start, or from where it was killed, to the best policy.

Everything that randomness touches is a function of seed and step, and every step's record is a file of its own, so the
policy that comes out is the same bytes however often the run was interrupted.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers.utils.logging import disable_progress_bar

from rporec.align.checkpoints import claim, finish, is_finished, newest_whole
from rporec.align.curves import Journal, Row, held_row
from rporec.align.ending import best_step, why_ended
from rporec.align.heldout import Held, HeldOut
from rporec.align.scorer import RewardScorer
from rporec.align.settings import Setup, grpo_config
from rporec.align.sharded import whole
from rporec.align.trainer import Policy
from rporec.align.vllm import require_server
from rporec.align.watch import Watcher
from rporec.backbone.source import Writer
from rporec.backbone.tokens import require_same_tokenizer
from rporec.config import AlignParams
from rporec.errors import InputError
from rporec.files import recover_folder, sha256_path
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
        InputError: no completion of the first steps is well formed, the loss is not a number, the work folder holds
            another run's work, a policy in it has another tokenizer, or a vLLM server that is asked for is not there.
    """
    journal, made_of = Journal(setup.work / "journal"), _made_of(params, setup, prompts)
    if is_finished(setup.work):
        claim(setup.work, made_of)
    else:
        require_server(params.vllm)
        config = grpo_config(params, setup)
        if config.world_size != params.processes:
            raise InputError(
                "this run wants another number of processes", field="align.processes", value=params.processes,
                rule=f"{config.world_size}, which were started", cure="let the stage align start them, or set it to 1",
            )  # fmt: skip
        with config.main_process_first():
            claim(setup.work, made_of)
            resumed = newest_whole(setup.checkpoints)
            _tidy(setup, journal, resumed)
            if not journal.rows():
                journal.write(0, held_row(0, heldout.check(writer)), [])
        rows = journal.rows()
        if (resumed[0] if resumed else 0) < params.steps and not why_ended(rows, params, _origin(setup, rows)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # between names of one setting in peft and transformers
                policy = Policy(params, setup, prompts, writer.tokenizer, scorer)
                _learn(policy, journal, heldout, resumed)
        if PartialState().is_main_process:
            finish(setup.work)
    rows = journal.rows()
    origin = _origin(setup, rows)
    best, ended = best_step(rows, params, origin), why_ended(rows, params, origin)
    if ended:
        log.info(
            "align: ended after step %d of %d: %s; the best is step %d", rows[-1]["step"], params.steps, ended, best
        )
    if best:
        require_same_tokenizer(setup.best, setup.backbone)
    return Trained(setup.best if best else setup.backbone, best, rows, journal.rollouts(), ended)


def _origin(setup: Setup, rows: list[Row]) -> Row:
    """Return the backbone's held-out check: step 0 of this run, or of the first of its rounds."""
    return rows[0] if setup.origin is None else dict(setup.origin)


def _tidy(setup: Setup, journal: Journal, resumed: tuple[int, Path] | None) -> None:
    """Bring the work folder to where the checkpoint stands."""
    recover_folder(setup.best)
    journal.forget_after(resumed[0] if resumed else 0)
    if resumed:
        require_same_tokenizer(resumed[1], setup.backbone)
        log.info("align: going on from step %d", resumed[0])


def _learn(policy: Policy, journal: Journal, heldout: HeldOut, resumed: tuple[int, Path] | None) -> None:
    """Train to the end, from a checkpoint if there is one."""
    disable_progress_bar()  # transformers' own, one a saved file
    params = policy.params
    with Progress("align", params.steps, "steps") as progress:
        progress.skip(resumed[0] if resumed else 0)

        def check() -> Held:
            with whole(policy.model):
                return heldout.check(policy.writer)

        watcher = Watcher(params, journal, check, policy.keep, progress, _origin(policy.setup, journal.rows()))
        policy.listeners.append(watcher.hear)
        policy.add_callback(watcher)
        policy.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)


def _made_of(params: AlignParams, setup: Setup, prompts: Sequence[tuple[int, str]]) -> dict[str, Any]:
    """Return what a run depends on, for `claim`."""
    return {
        "align": params.model_dump(mode="json"), "run.seed": setup.seed, "run.device": setup.device,
        "backbone.dtype": setup.dtype,
        "backbone.max_completion_tokens": setup.max_completion_tokens, "backbone": sha256_path(setup.backbone),
        "prompts": hashlib.sha256(repr(list(prompts)).encode()).hexdigest(), **setup.made_of,
    }  # fmt: skip
