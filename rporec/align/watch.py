"""The watch over a run of reinforcement learning: what it hears of each step, and what it does at held-out checks.

It writes the curves (`curves`), keeps the best policy, and ends a run that has stopped improving or has collapsed
(`ending`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rporec.align.curves import COLUMNS, Journal, Row, held_row
from rporec.align.ending import best_step, why_ended
from rporec.align.heldout import Held
from rporec.align.rewards import TERMS
from rporec.align.rollouts import Rollouts
from rporec.config import AlignParams
from rporec.errors import InputError
from rporec.progress import Progress

KEPT_PROMPTS = 2  # prompts a step whose G rollouts are kept as a sample
FIRST_STEPS = 2  # steps without one well-formed completion after which a run is hopeless


def rollout_row(rollouts: Rollouts, generations: int) -> Row:
    """Return the means of one generation batch."""
    terms = [one.terms for one in rollouts.scored]
    rewards = np.array([one.reward for one in rollouts.scored]).reshape(-1, generations)  # [B, G]
    names = (*TERMS, "valid", "well_formed")
    return {
        **{name: float(np.mean([asdict(one)[name] for one in terms])) for name in names},
        "reward": float(rewards.mean()),
        "zero_variance": float(np.mean(np.ptp(rewards, axis=1) < 1e-8)),
        "zero_variance_first": float(np.mean(rollouts.flat)),
        "length": float(np.mean(rollouts.lengths)),
    }


def rollout_sample(rollouts: Rollouts, generations: int) -> list[dict[str, Any]]:
    """Return the rollouts of the first prompts of a batch as rows of the ROLLOUTS table."""
    return [
        {
            "step": rollouts.step + 1, "group": rollouts.groups[i], "sample": rollouts.samples[i],
            "prompt": rollouts.prompts[i], "completion": rollouts.completions[i], "reward": rollouts.scored[i].reward,
            **asdict(rollouts.scored[i].terms),
            "advantage": rollouts.advantages[i],
        }
        for i in range(KEPT_PROMPTS * generations)
        if i < len(rollouts.groups)
    ]  # fmt: skip


class Watcher(TrainerCallback):
    """Writes the journal, checks held-out rows, keeps the best policy, stops a run that stalls or cannot learn.

    Args:
        params: of this run.
        journal: where steps go; its rows up to the checkpoint resumed from count.
        check: measures the policy as it stands.
        keep: saves the policy as it stands as the best so far.
        progress: counts steps.
        backbone: its held-out check, from which a collapse is measured.
    """

    def __init__(
        self,
        params: AlignParams,
        journal: Journal,
        check: Callable[[], Held],
        keep: Callable[[], None],
        progress: Progress,
        backbone: Row,
    ) -> None:
        self.params, self.journal, self.check, self.keep, self.progress = params, journal, check, keep, progress
        self.rows, self.backbone = journal.rows(), backbone
        self._row: Row = {}
        self._sample: list[dict[str, Any]] = []

    def hear(self, rollouts: Rollouts) -> None:
        """Take in one scored generation batch.

        Raises:
            InputError: the first batches hold no well-formed completion, so that there is nothing to reward.
        """
        self._row = rollout_row(rollouts, self.params.num_generations)
        self._sample = rollout_sample(rollouts, self.params.num_generations)
        heard = [row["well_formed"] for row in self.rows if row["well_formed"] is not None]
        if rollouts.step + 1 == min(FIRST_STEPS, self.params.steps) and not any([*heard, self._row["well_formed"]]):
            raise InputError(
                f"no completion of the first {rollouts.step + 1} steps is well formed, so none earns a reward",
                field="well_formed", value=0.0, rule="a share above 0",
                cure="train the backbone longer (backbone.epochs), give it more room (backbone.max_completion_tokens) "
                "or sample nearer to greedy (align.temperature); align.steps=0 goes on without reinforcement learning",
            )  # fmt: skip

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Check held-out rows when it is time."""
        step = int(state.global_step)
        if step % self.params.eval_every == 0 or step == self.params.steps:
            held = held_row(step, self.check())
            self._row |= {name: value for name, value in held.items() if value is not None}
            checked = [*self.rows, held | self._row]
            if best_step(checked, self.params, self.backbone) == step:
                self.keep()
            if why_ended(checked, self.params, self.backbone):
                control.should_training_stop = control.should_save = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float],
        **_: object,
    ) -> None:
        """Write the step's row.

        Raises:
            InputError: the loss is not a number.
        """
        if "grad_norm" not in logs:  # the trainer's closing summary
            return
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs["grad_norm"]):
            raise InputError(
                "the loss of reinforcement learning is not a number", field="align.learning_rate",
                value=args.learning_rate, rule="a finite loss", cure="lower align.learning_rate",
            )  # fmt: skip
        step = int(state.global_step)
        seen = {"kl": logs.get("kl"), "policy_entropy": logs["entropy"], "loss": logs["loss"]}
        row: Row = {**dict.fromkeys(COLUMNS, None), **self._row, **seen, "grad_norm": logs["grad_norm"], "step": step}
        if state.is_world_process_zero:
            self.journal.write(step, row, self._sample)
        self.rows.append(row)
        kl = "" if row["kl"] is None else f", kl {row['kl']:.4f}"  # with beta 0 nobody measures it
        self.progress.advance(1, f"reward {row['reward']:.3f}{kl}")
