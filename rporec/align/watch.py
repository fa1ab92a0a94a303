"""What a run of reinforcement learning leaves behind step by step, and when it stops.

One JSON file a step (`Journal`): after a kill the steps since the last checkpoint are done again and overwrite their
own files with the same bytes, so curves need no state of their own. The held-out check keeps the best policy and ends
a run that has stopped improving or has collapsed, by name (`collapse`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rporec.align.heldout import Held
from rporec.align.rewards import TERMS
from rporec.align.trainer import Rollouts
from rporec.config import AlignParams
from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.progress import Progress

KEPT_PROMPTS = 2  # prompts a step whose G rollouts are kept as a sample
_LONGER = 2.0  # times the backbone's length that is no collapse yet
_GAMED = 2  # checks in a row that tell a gamed reward from a bad draw
FIRST_STEPS = 2  # steps without one well-formed completion after which a run is hopeless
COLUMNS = (
    "step", "reward", *TERMS, "valid", "well_formed", "zero_variance", "kl", "policy_entropy", "length", "loss",
    "grad_norm", "heldout_ndcg@10", "heldout_well_formed", "heldout_grounded", "heldout_length",
)  # fmt: skip
Row = dict[str, Any]  # numbers, None where a column was not measured at this step


class Journal:
    """The steps of a run in a folder, one JSON file each: `row` (COLUMNS) and `rollouts` (a sample)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, step: int, row: Row, rollouts: list[dict[str, Any]]) -> None:
        """Keep one step, replacing what was there."""
        write_json(self._folder / f"{step:06d}.json", {"row": row, "rollouts": rollouts})

    def rows(self) -> list[Row]:
        """Return the rows of all steps in order."""
        return [entry["row"] for entry in self._entries()]

    def rollouts(self) -> list[dict[str, Any]]:
        """Return the kept rollouts of all steps in order."""
        return [rollout for entry in self._entries() for rollout in entry["rollouts"]]

    def forget_after(self, step: int) -> None:
        """Remove the steps that will be done again."""
        for file in self._folder.glob("*.json"):
            if int(file.stem) > step:
                file.unlink()

    def _entries(self) -> list[dict[str, Any]]:
        return [read_json(file) for file in sorted(self._folder.glob("*.json"))]


def curve(rows: list[Row]) -> pl.DataFrame:
    """Return the rows as a table, columns as COLUMNS."""
    kinds = {name: pl.Int64() if name == "step" else pl.Float64() for name in COLUMNS}
    return pl.DataFrame([[row[name] for name in COLUMNS] for row in rows], schema=kinds, orient="row")


def held_row(step: int, held: Held) -> Row:
    """Return a row that holds a held-out check only."""
    return {
        **dict.fromkeys(COLUMNS, None), "step": step, "heldout_ndcg@10": held.ndcg,
        "heldout_well_formed": held.well_formed, "heldout_grounded": held.grounded, "heldout_length": held.length,
    }  # fmt: skip


def best_step(rows: list[Row], margin: float) -> int:
    """Return the trained step with the highest held-out NDCG@10 that has not collapsed, the earliest of equals, else 0.

    Args:
        rows: of all steps so far, step 0 (the backbone) first.
        margin: `align.collapse_margin`.
    """
    start, *checks = _checks(rows)
    sound = [row for row in checks if not collapse(start, row, margin)]
    return max(((row["heldout_ndcg@10"], -int(row["step"])) for row in sound), default=(0.0, 0))[1] * -1


def collapse(start: Row, row: Row, margin: float) -> str:
    """Return the name of what has collapsed since the backbone, "" where nothing has.

    `form`, `truth`: the share of well-formed completions, or what of the thoughts is in the prompts, fell by more than
    `margin`; `length`: completions are less than half or more than twice as long.

    Args:
        start: the held-out check of step 0.
        row: a later one.
        margin: `align.collapse_margin`.
    """
    for name, column in (("form", "heldout_well_formed"), ("truth", "heldout_grounded")):
        if row[column] < start[column] - margin:
            return name
    return "" if 0.5 <= row["heldout_length"] / max(start["heldout_length"], 1.0) <= _LONGER else "length"


def why_ended(rows: list[Row], params: AlignParams) -> str:
    """Return why a run ends before its last step, "" where it may go on.

    `collapse of form`, `… truth`, `… length` (`collapse`); `a gamed reward`: at two checks in a row the reward was
    higher than before the first, and held-out NDCG@10 below the backbone's by more than `align.ship_margin`; `no better
    step`: the last `align.patience` checks brought nothing better than a check before them.

    Args:
        rows: of all steps so far, step 0 first.
        params: margins and patience.
    """
    start, *checks = _checks(rows)
    if not checks:
        return ""
    if name := collapse(start, checks[-1], params.collapse_margin):
        return f"collapse of {name}"
    if len(checks) > _GAMED and all(_gamed(rows, checks, place, params) for place in range(-_GAMED, 0)):
        return "a gamed reward"
    best = best_step(rows, params.collapse_margin)
    return "no better step" if best and sum(row["step"] > best for row in checks) >= params.patience else ""


def _gamed(rows: list[Row], checks: list[Row], place: int, params: AlignParams) -> bool:
    """Whether the reward rose up to a check (counted from the last) while the held-out measure fell."""
    start, check = rows[0], checks[place]
    first = _mean_reward(rows, 0.0, checks[0]["step"])
    since = _mean_reward(rows, checks[place - 1]["step"], check["step"])
    return since > first and check["heldout_ndcg@10"] < start["heldout_ndcg@10"] - params.ship_margin


def _mean_reward(rows: list[Row], after: float, until: float) -> float:
    return float(np.mean([row["reward"] for row in rows if after < row["step"] <= until]))


def rollout_row(rollouts: Rollouts, generations: int) -> Row:
    """Return the means of one generation batch."""
    terms = [one.terms for one in rollouts.scored]
    rewards = np.array([one.reward for one in rollouts.scored]).reshape(-1, generations)  # [B, G]
    names = (*TERMS, "valid", "well_formed")
    return {
        **{name: float(np.mean([asdict(one)[name] for one in terms])) for name in names},
        "reward": float(rewards.mean()),
        "zero_variance": float(np.mean(np.ptp(rewards, axis=1) < 1e-8)),
        "length": float(np.mean(rollouts.lengths)),
    }


def rollout_sample(rollouts: Rollouts, generations: int) -> list[dict[str, Any]]:
    """Return the rollouts of the first prompts of a batch as rows of the ROLLOUTS table."""
    return [
        {
            "step": rollouts.step + 1, "group": rollouts.groups[i], "sample": rollouts.samples[i],
            "prompt": rollouts.prompts[i], "completion": rollouts.completions[i], "reward": rollouts.scored[i].reward,
            **{term: asdict(rollouts.scored[i].terms)[term] for term in TERMS},
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
    """

    def __init__(
        self,
        params: AlignParams,
        journal: Journal,
        check: Callable[[], Held],
        keep: Callable[[], None],
        progress: Progress,
    ) -> None:
        self.params, self.journal, self.check, self.keep, self.progress = params, journal, check, keep, progress
        self.rows = journal.rows()
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
        if rollouts.step + 1 == FIRST_STEPS and not any([*heard, self._row["well_formed"]]):
            raise InputError(
                f"no completion of the first {FIRST_STEPS} steps is well formed, so none earns a reward",
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
            if best_step(checked, self.params.collapse_margin) == step:
                self.keep()
            if why_ended(checked, self.params):
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
        seen = {"kl": logs.get("kl", 0.0), "policy_entropy": logs["entropy"], "loss": logs["loss"]}
        row: Row = {**dict.fromkeys(COLUMNS, None), **self._row, **seen, "grad_norm": logs["grad_norm"], "step": step}
        self.journal.write(step, row, self._sample)
        self.rows.append(row)
        self.progress.advance(1, f"reward {row['reward']:.3f}, kl {row['kl']:.4f}")


def _checks(rows: list[Row]) -> list[Row]:
    """Return the rows of held-out checks, that of step 0 first."""
    return [row for row in rows if row["heldout_ndcg@10"] is not None]
