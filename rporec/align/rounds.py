"""Rounds of alignment: a run of RL, the Recheads fitted again to what its policy writes, and RL again from there.

GRPO's outer loop (arXiv 2402.03300, algorithm 1): each round starts, and measures its KL, from the policy before. Only
the reasoning module and the weights are fitted anew: the heads never read reasoning. Cross-fitted as in the stage
rechead: the module learns on the slice `reason`, whose targets paid no policy, and rewards on prompts of `align`. A
single round fits nothing again. How one round learns is `rporec.align.run`; whether its policy ships is `ship`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rporec.align.curves import Row
from rporec.align.gather import Texts
from rporec.align.run import Trained
from rporec.align.ship import judge
from rporec.align.trainer import prompt_order
from rporec.backbone.source import load_writer
from rporec.backbone.write import groups_of, write_completions
from rporec.config import AlignParams, Params
from rporec.errors import InputError
from rporec.files import recover_folder, replace_folder
from rporec.reasoning.parse import parse
from rporec.rechead import crossfit
from rporec.rechead.examples import Examples
from rporec.rechead.model import Rechead
from rporec.rechead.reasoning import ReasoningFit, Told
from rporec.rechead.refit import Recheads, refit


@dataclass(frozen=True)
class Begin:
    """Where a round begins.

    Args:
        number: of the round, from 1.
        policy: folder of the policy that it starts from; the backbone's in round 1.
        recheads: folder of the Recheads that reward and check it.
        work: its folder, kept over a kill; holds those of the rounds after it.
    """

    number: int
    policy: Path
    recheads: Path
    work: Path

    def then(self) -> Begin:
        """Return where the next round begins."""
        return Begin(self.number + 1, self.work / "best", self.work / "rechead", self.work / "next")


@dataclass(frozen=True)
class Fitted:
    """The Recheads that were fitted to what a round's policy writes.

    Args:
        recheads: their folder.
        completions: COMPLETIONS of the policy for the slices reason and valid.
        ndcg: NDCG@10 on valid of the policy with its Rechead `chosen`.
        ndcg_before_fit: the same policy read by the Rechead `chosen` that the round began with.
        memory: what was found of the policy's memory of the slice reason (`crossfit.as_json`).
    """

    recheads: Path
    completions: pl.DataFrame
    ndcg: float
    ndcg_before_fit: float
    memory: dict[str, Any]


@dataclass(frozen=True)
class Round:
    """A round that was played; `fitted` is None for a single round, and where no step was sound."""

    begin: Begin
    trained: Trained
    fitted: Fitted | None


@dataclass(frozen=True)
class Material:
    """What the Recheads are fitted to again.

    Args:
        params: all parameters.
        train, valid: ROWS; valid holds some.
        texts: catalogue, and how is written.
        recheads: folder of the stage rechead's, whose heads are taken.
        vectors: where a pretrained encoder's vectors are kept.
    """

    params: Params
    train: pl.DataFrame
    valid: pl.DataFrame
    texts: Texts
    recheads: Path
    vectors: Path

    def rows(self, name: str) -> pl.DataFrame:
        """Return the rows of a slice of train."""
        return self.train.filter(pl.col("slice") == name)


def play(first: Begin, material: Material, learn: Callable[[Begin], Trained]) -> list[Round]:
    """Play `align.rounds` rounds, or go on with them after a kill; a round without a sound step is the last one.

    Args:
        first: where round 1 begins.
        material: for the fits between rounds.
        learn: runs one round's reinforcement learning.

    Raises:
        InputError: as `learn` does, or a policy knows targets of the slice reason by heart.
    """
    played: list[Round] = []
    begin, rounds = first, material.params.align.rounds
    while len(played) < rounds:
        trained = learn(begin)
        sound = rounds > 1 and trained.best > 0
        played.append(Round(begin, trained, fit_again(begin, material) if sound else None))
        if not sound:
            break
        begin = begin.then()
    return played


def fit_again(begin: Begin, material: Material) -> Fitted:
    """Let the policy of a round write for reason and valid, and fit the Recheads to that.

    Args:
        begin: of the round, whose policy is there.
        material: see there.

    Raises:
        InputError: the policy knows targets of the slice reason by heart.
    """
    params, then = material.params, begin.then()
    reason, valid = material.rows("reason"), material.valid
    # In the number format that is served, as the stage cot writes.
    writer = load_writer(then.policy, params.backbone.dtype, params.run.device)
    groups, texts = groups_of(pl.concat([reason, valid])), material.texts
    written = write_completions(
        writer, groups, texts.catalogue, texts.writing, begin.work / "written", texts.evidence
    ).completions
    pairs = [(group, parse(text)) for group, text in written.select("group", "completion").iter_rows()]
    told = {name: Told.of(Examples.from_rows(rows), pairs) for name, rows in (("reason", reason), ("valid", valid))}
    memory = _audit(begin.number, material, told)
    recover_folder(then.recheads)
    if not then.recheads.is_dir():
        given = Recheads.load(material.recheads, material.vectors)
        fit = ReasoningFit(params.rechead.reasoning_epochs, params.rechead.text_dropout, params.run.seed)
        new = begin.work / "rechead.new"
        shutil.rmtree(new, ignore_errors=True)
        refit(given, told["reason"], told["valid"], fit, begin.work / "fit").save(new)
        replace_folder(new, then.recheads)
    own, before = (_ndcg(folder, material, written) for folder in (then.recheads, begin.recheads))
    return Fitted(then.recheads, written, own, before, memory)


def order_of(begin: Begin, n_prompts: int, params: AlignParams, seed: int) -> list[int]:
    """Return the prompt numbers of a round's steps: no prompt comes again, in any round, before all have come.

    Args:
        begin: of the round.
        n_prompts: prompts of the align slice.
        params: `steps`, `prompts_per_step`.
        seed: `run.seed`.
    """
    until = params.model_copy(update={"steps": params.steps * begin.number})
    return prompt_order(n_prompts, until, seed)[-params.steps * params.prompts_per_step :]


def choose(played: list[Round], margin: float) -> Round | None:
    """Return the round whose policy is the best on valid, each with its own Rechead; None where no step was sound.

    Args:
        played: in their order.
        margin: NDCG@10 within which the earlier, simpler one is taken.
    """
    sound = [one for one in played if one.trained.best]
    values = [one.fitted.ndcg if one.fitted else 0.0 for one in sound]
    return next((one for one, value in zip(sound, values, strict=True) if value >= max(values) - margin), None)


def joined(played: list[Round], shipped: Round | None) -> Trained | None:
    """Return all rounds as one run, steps counted on; best step and end are the shipped round's, else the last one's.

    The held-out check with which a later round begins is left out: it is the policy before with another Rechead.
    """
    if not played:
        return None
    told, rows, rollouts, best = shipped or played[-1], list[Row](), list[dict[str, Any]](), 0
    for one in played:
        done = int(rows[-1]["step"]) if rows else 0
        best = done + one.trained.best if one is told else best
        rows += [row | {"step": row["step"] + done} for row in one.trained.rows[1 if rows else 0 :]]
        rollouts += [rollout | {"step": rollout["step"] + done} for rollout in one.trained.rollouts]
    return Trained(told.trained.folder, best, rows, rollouts, told.trained.ended)


def tell(played: list[Round], shipped: Round | None, backbone: float | None) -> dict[str, Any]:
    """Return what align.json says of several rounds: the one that was chosen, and each of them; {} for a single one.

    Args:
        played: in their order.
        shipped: the chosen one.
        backbone: NDCG@10 on valid of the backbone with the stage rechead's own, which is before round 1.
    """
    if not any(one.fitted for one in played):
        return {}
    before, told = backbone, list[dict[str, Any]]()
    for one in played:
        fitted = one.fitted
        own = fitted.ndcg if fitted else None
        told.append(
            {
                "round": one.begin.number,
                "steps": len(one.trained.rows) - 1,
                "best_step": one.trained.best,
                "ended": one.trained.ended,
                "valid_ndcg": own,
                "valid_ndcg_before": before,
                "valid_ndcg_before_fit": fitted.ndcg_before_fit if fitted else None,
                "memory": fitted.memory if fitted else None,
            }
        )
        before = own
    return {"rounds": told, "chosen_round": shipped.begin.number if shipped else None}


def _ndcg(recheads: Path, material: Material, written: pl.DataFrame) -> float:
    found = judge(Rechead.load(recheads / "chosen", material.vectors), material.valid, written)
    assert found is not None, "without rows of valid nothing is trained"
    return found.ndcg


def _audit(number: int, material: Material, told: dict[str, Told]) -> dict[str, Any]:
    """Look whether a policy that was paid on later rows names targets of reason as one that knows them would."""
    rows = {"reason": material.rows("reason"), "valid": material.valid}
    users = {name: part.unique("group", keep="first").sort("group")["user_id"] for name, part in rows.items()}
    asked = {name: crossfit.Asked(told[name], users[name].to_numpy()) for name in rows}
    margin, fit = material.params.rechead.memory_margin, Examples.from_rows(material.rows("fit"))
    memory = crossfit.look(fit, asked["reason"], asked["valid"], material.texts.catalogue, margin)
    if memory.memorised or memory.too_often:
        raise InputError(
            f"leak: the policy of round {number} names targets of the slice reason that its history does not tell, so "
            f"no Rechead may learn from what it writes; for instance {'; '.join(memory.examples)}",
            field="align.rounds", value=f"{material.params.align.rounds}, {memory.known} known",
            rule=f"at most {margin:.1%} known (rechead.memory_margin), beyond chance",
            cure="set align.rounds to 1, or train less (align.steps, align.learning_rate)",
        )  # fmt: skip
    return crossfit.as_json(memory, margin)
