"""Stage align: reinforcement learning of the backbone, with the ranking of the frozen Rechead as the reward."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rporec import tables
from rporec.align.curves import curve
from rporec.align.gather import Texts, gather_heldout, gather_prompts, load_head
from rporec.align.heldout import HeldOut
from rporec.align.run import Trained, train_policy
from rporec.align.scorer import RewardScorer
from rporec.align.settings import Setup
from rporec.align.ship import decide, summarise, why_untrained
from rporec.align.together import join, train_together
from rporec.align.trainer import prompt_order
from rporec.backbone.device import require_device
from rporec.backbone.source import load_writer
from rporec.backbone.write import groups_of, write_completions
from rporec.catalogue import Catalogue
from rporec.config import AlignParams
from rporec.files import atomic_file, sha256_path, write_json
from rporec.reasoning import lookup
from rporec.rechead.model import Rechead
from steps.stage import Outcome, Stage, assist, guarded, run_stage

log = logging.getLogger("rporec")

SLICES = ("align", "valid", "test")
LAUNCHED = "LOCAL_RANK"  # told by accelerate to each process that it starts


@dataclass(frozen=True)
class Given:
    """What earlier stages left: ROWS of the align slice, valid and test, the backbone's COMPLETIONS, texts, a head."""

    prompts: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    before: pl.DataFrame
    texts: Texts
    chosen: Rechead

    def heldout(self, params: AlignParams) -> HeldOut:
        """Return the measure that chooses the step."""
        return gather_heldout(self.chosen, self.valid, self.before, self.texts, params)


def gather(stage: Stage) -> Given:
    """Read what earlier stages left."""
    require_device(stage.params.run.device)
    train, valid, test = (read(stage, f"sequence/{part}.parquet", tables.ROWS) for part in ("train", "valid", "test"))
    before = read(stage, "cot/completions.parquet", tables.COMPLETIONS).filter(pl.col("slice").is_in(["valid", "test"]))
    catalogue = Catalogue.from_table(read(stage, "ingest/items.parquet", tables.ITEMS))
    near = lookup.load_neighbours(stage.inputs("backbone/neighbours.safetensors"))
    kinds = lookup.kinds_of(stage.params.backbone.evidence)
    evidence = lookup.as_of(SLICES, pl.concat([train, valid]), kinds, catalogue, near)
    texts = Texts.of(catalogue, stage.params, evidence)
    chosen = load_head(stage.inputs("rechead/chosen"), texts.catalogue, stage.vectors)
    return Given(train.filter(pl.col("slice") == "align"), valid, test, before, texts, chosen)


def align(stage: Stage) -> Outcome:
    """Train the policy, let it write for valid and test, and decide whether it ships."""
    given = gather(stage)
    trained: Trained | None = None
    texts, chosen, valid, before = given.texts, given.chosen, given.valid, given.before
    after, policy = before, stage.inputs("backbone/model")
    untrained = why_untrained(stage.params.align.steps, given.prompts, valid)
    if not untrained:
        trained = learn(stage, given.prompts, given.heldout(stage.params.align), texts)
        untrained = "" if trained.best else f"no step was sound: {trained.ended or 'all of them had collapsed'}"
    if trained and trained.best:
        policy, groups = trained.folder, groups_of(pl.concat([valid, given.test]))
        # Judged in the number format that is served.
        served = load_writer(policy, stage.params.backbone.dtype, stage.params.run.device)
        folder = stage.work / "policy"
        written = write_completions(served, groups, texts.catalogue, texts.writing, folder, texts.evidence)
        after = written.completions
    decision = decide(chosen, valid, after, before, stage.params.align.ship_margin, untrained)
    summary = summarise(decision, after, trained)
    shutil.copytree(policy, stage.new / "policy")
    tables.write(after, stage.new / "completions.parquet", tables.COMPLETIONS)
    rollouts = pl.DataFrame(trained.rollouts if trained else [], schema=tables.ROLLOUTS.columns)
    tables.write(rollouts, stage.new / "rollouts.parquet", tables.ROLLOUTS)
    with atomic_file(stage.new / "rewards.csv") as temporary:
        curve(trained.rows if trained else []).write_csv(temporary, float_precision=6)
    write_json(stage.new / "align.json", summary)
    metrics = {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}
    ended = f" ({summary['ended']})" if summary["ended"] else ""
    closing = (
        f"{summary['steps']} steps{ended}, the best is {summary['best_step']}; "
        f"{decision.ships} ships: {decision.reason}"
    )
    return Outcome(closing, metrics, ("align.json", "rewards.csv"))


def learn(stage: Stage, prompts: pl.DataFrame, heldout: HeldOut, texts: Texts) -> Trained:
    """Run the reinforcement learning, or go on with it after a kill; by several processes where params say so."""
    params, run, backbone = stage.params.align, stage.params.run, stage.inputs("backbone/model")
    writer = load_writer(backbone, device=run.device)
    groups = groups_of(prompts)["group"].to_list()
    order = [groups[place] for place in prompt_order(len(groups), params, run.seed)]
    known = gather_prompts(writer, prompts.filter(pl.col("group").is_in(order)), texts, stage.work / "references")
    if params.processes > 1 and LAUNCHED not in os.environ:
        train_together(params, stage.root, "steps.align")  # what they leave in the work folder is read below
    head = load_head(stage.inputs("rechead/reward"), texts.catalogue, stage.vectors)
    if head.weights.strength == 0:
        log.warning("the Rechead gives reasoning no weight (strength 0): the rank cannot tell completions apart")
    scorer = RewardScorer(head, head.encoder, texts.catalogue, known.facts, params, len(writer.tokenizer))
    setup = Setup(
        backbone, stage.work, run.seed, stage.params.backbone.max_completion_tokens, run.device,
        {"rechead": sha256_path(stage.inputs("rechead"))},
    )  # fmt: skip
    return train_policy(params, setup, writer, [(group, known.prompts[group]) for group in order], scorer, heldout)


def help_to_learn(stage: Stage) -> None:
    """Take part in the learning as one of the processes that `learn` started."""
    join(stage.params.run.device)
    given = gather(stage)
    learn(stage, given.prompts, given.heldout(stage.params.align), given.texts)


def read(stage: Stage, path: str, table: tables.Table) -> pl.DataFrame:
    """Read a table of an earlier stage."""
    return tables.read(stage.inputs(path), table)


if __name__ == "__main__":
    if LAUNCHED in os.environ:
        guarded(lambda: assist("align", help_to_learn, Path.cwd()))
    else:
        run_stage("align", align)
