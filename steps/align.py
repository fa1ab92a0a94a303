"""Stage align: reinforcement learning of the backbone, with the ranking of the frozen Rechead as the reward."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rporec import tables
from rporec.align import rounds
from rporec.align.checkpoints import is_finished
from rporec.align.curves import Journal, curve
from rporec.align.gather import Texts, gather_heldout, gather_prompts, load_head
from rporec.align.rounds import Begin, Material, Round
from rporec.align.run import Trained, train_policy
from rporec.align.scorer import RewardScorer
from rporec.align.settings import Setup
from rporec.align.ship import decide, judge, summarise, why_untrained
from rporec.align.together import join, train_together
from rporec.backbone.device import require_device
from rporec.backbone.source import load_writer
from rporec.backbone.write import groups_of, write_completions
from rporec.catalogue import Catalogue
from rporec.files import atomic_file, sha256_path, write_json
from rporec.reasoning import lookup
from rporec.rechead.model import Rechead
from steps.stage import Outcome, Stage, assist, guarded, run_stage

log = logging.getLogger("rporec")

SLICES = ("align", "valid", "test")
REFITTED = ("reason", *SLICES)  # whose evidence is wanted where Recheads are fitted again
LAUNCHED = "LOCAL_RANK"  # told by accelerate to each process that it starts


@dataclass(frozen=True)
class Given:
    """What earlier stages left: ROWS, the backbone's COMPLETIONS of valid and test, texts, the Rechead `chosen`."""

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    before: pl.DataFrame
    texts: Texts
    chosen: Rechead

    @property
    def prompts(self) -> pl.DataFrame:
        """The rows whose prompts are learned on."""
        return self.train.filter(pl.col("slice") == "align")


def gather(stage: Stage) -> Given:
    """Read what earlier stages left."""
    require_device(stage.params.run.device)
    train, valid, test = (read(stage, f"sequence/{part}.parquet", tables.ROWS) for part in ("train", "valid", "test"))
    before = read(stage, "cot/completions.parquet", tables.COMPLETIONS).filter(pl.col("slice").is_in(["valid", "test"]))
    catalogue = Catalogue.from_table(read(stage, "ingest/items.parquet", tables.ITEMS))
    near = lookup.load_neighbours(stage.inputs("backbone/neighbours.safetensors"))
    kinds = lookup.kinds_of(stage.params.backbone.evidence)
    slices = REFITTED if stage.params.align.rounds > 1 else SLICES
    evidence = lookup.as_of(slices, pl.concat([train, valid]), kinds, catalogue, near)
    texts = Texts.of(catalogue, stage.params, evidence)
    chosen = load_head(stage.inputs("rechead/chosen"), texts.catalogue, stage.vectors)
    return Given(train, valid, test, before, texts, chosen)


def align(stage: Stage) -> Outcome:
    """Train the policy, let it write for valid and test, and decide whether it ships."""
    given, params = gather(stage), stage.params.align
    played: list[Round] = []
    untrained = why_untrained(params.steps, given.prompts, given.valid)
    if not untrained:
        recheads = stage.inputs("rechead")
        material = Material(stage.params, given.train, given.valid, given.texts, recheads, stage.vectors)
        played = rounds.play(first_round(stage), material, lambda begin: learn(stage, given, begin))
    best = rounds.choose(played, params.ship_margin)
    trained = rounds.joined(played, best)
    if trained and not best:
        untrained = f"no step was sound: {trained.ended or 'all of them had collapsed'}"
    after = write(stage, given, best) if best else given.before
    refitted = best.fitted if best else None
    reader = load_head(refitted.recheads / "chosen", given.texts.catalogue, stage.vectors) if refitted else given.chosen
    backbone = judge(given.chosen, given.valid, given.before)
    policy = judge(reader, given.valid, after) if best else None
    decision = decide(policy, backbone, params, stage.params.run.seed, untrained)
    shutil.copytree(best.trained.folder if best else stage.inputs("backbone/model"), stage.new / "policy")
    if refitted and decision.ships == "policy":
        shutil.copytree(refitted.recheads, stage.new / "rechead")
    summary = summarise(decision, after, trained) | rounds.tell(played, best, decision.valid_ndcg_backbone)
    summary["reasoning_strength"] = float(given.chosen.weights.strength)  # 0: the rank paid all completions alike
    keep(stage, after, trained, summary)
    metrics = {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}
    ended = f" ({summary['ended']})" if summary["ended"] else ""
    closing = (
        f"{summary['steps']} steps{ended}, the best is {summary['best_step']}; "
        f"{decision.ships} ships: {decision.reason}"
    )
    return Outcome(closing, metrics, ("align.json", "rewards.csv"))


def write(stage: Stage, given: Given, best: Round) -> pl.DataFrame:
    """Return what the policy of a round writes for valid and test; what was judged already is not written again."""
    # Judged in the number format that is served.
    writer = load_writer(best.trained.folder, stage.params.backbone.dtype, stage.params.run.device)
    rows = given.test if best.fitted else pl.concat([given.valid, given.test])
    texts, folder = given.texts, best.begin.work / "policy"
    after = write_completions(writer, groups_of(rows), texts.catalogue, texts.writing, folder, texts.evidence)
    if not best.fitted:
        return after.completions
    judged = best.fitted.completions.filter(pl.col("slice") == "valid")
    return pl.concat([judged, after.completions]).sort("group", "sample")


def keep(stage: Stage, after: pl.DataFrame, trained: Trained | None, summary: dict[str, Any]) -> None:
    """Write the stage's tables and its summary."""
    tables.write(after, stage.new / "completions.parquet", tables.COMPLETIONS)
    rollouts = pl.DataFrame(trained.rollouts if trained else [], schema=tables.ROLLOUTS.columns)
    tables.write(rollouts, stage.new / "rollouts.parquet", tables.ROLLOUTS)
    with atomic_file(stage.new / "rewards.csv") as temporary:
        curve(trained.rows if trained else []).write_csv(temporary, float_precision=6)
    write_json(stage.new / "align.json", summary)


def first_round(stage: Stage) -> Begin:
    """Return where round 1 begins: at the backbone, with the stage rechead's own."""
    return Begin(1, stage.inputs("backbone/model"), stage.inputs("rechead"), stage.work)


def learn(stage: Stage, given: Given, begin: Begin) -> Trained:
    """Run a round's learning, or go on with it after a kill; by several processes where params say so."""
    params, run, texts = stage.params.align, stage.params.run, given.texts
    backbone = load_writer(stage.inputs("backbone/model"), device=run.device)
    groups = groups_of(given.prompts)["group"].to_list()
    order = [groups[place] for place in rounds.order_of(begin, len(groups), params, run.seed)]
    asked = given.prompts.filter(pl.col("group").is_in(order))
    known = gather_prompts(backbone, asked, texts, begin.work / "references")
    if params.processes > 1 and LAUNCHED not in os.environ and not is_finished(begin.work):
        train_together(
            params, run.device, stage.root, "steps.align"
        )  # what they leave in the work folder is read below
    reward, chosen = (load_head(begin.recheads / name, texts.catalogue, stage.vectors) for name in ("reward", "chosen"))
    if reward.weights.strength == 0:
        log.warning("the Rechead gives reasoning no weight (strength 0): the rank cannot tell completions apart")
    scorer = RewardScorer(reward, reward.encoder, texts.catalogue, known.facts, params, len(backbone.tokenizer))
    heldout = gather_heldout(chosen, given.valid, given.before, texts, params)
    setup = Setup(
        begin.policy, begin.work, run.seed, stage.params.backbone.max_completion_tokens, run.device,
        {"rechead": sha256_path(begin.recheads)},
        # Else each round could fall by the margin once more.
        Journal(first_round(stage).work / "journal").rows()[0] if begin.number > 1 else None,
        stage.params.backbone.dtype,
    )  # fmt: skip
    writer = backbone if begin.number == 1 else load_writer(begin.policy, device=run.device)
    return train_policy(params, setup, writer, [(group, known.prompts[group]) for group in order], scorer, heldout)


def help_to_learn(stage: Stage) -> None:
    """Take part in the learning as one of the processes that `learn` started."""
    join(stage.params.run.device)
    begin = first_round(stage)
    while is_finished(begin.work):
        begin = begin.then()
    learn(stage, gather(stage), begin)


def read(stage: Stage, path: str, table: tables.Table) -> pl.DataFrame:
    """Read a table of an earlier stage."""
    return tables.read(stage.inputs(path), table)


if __name__ == "__main__":
    if LAUNCHED in os.environ:
        guarded(lambda: assist("align", help_to_learn, Path.cwd()))
    else:
        run_stage("align", align)
