"""Stage evaluate: every ranker on the test rows, opened once; metrics, comparisons, slices, samples, reports.

First the written reasoning is judged, and the run stopped where a text knows what only its target could tell.
"""

from __future__ import annotations

import polars as pl

from rporec import tables
from rporec.align.shipped import recheads_of, recheads_of_backbone
from rporec.backbone.tokens import require_same_tokenizer
from rporec.baselines.fit import fit_all
from rporec.catalogue import Catalogue
from rporec.evaluation import frames, samples, scoring, written
from rporec.evaluation.curves import training_charts
from rporec.evaluation.metrics import Ranks
from rporec.evaluation.reasoning_page import render_reasoning
from rporec.evaluation.report import ReportData, render
from rporec.evaluation.results import RANKERS, Inputs, hit_curves, results
from rporec.evaluation.slices import label_rows
from rporec.files import read_json, write_json, write_text
from rporec.reasoning.report import Finished
from rporec.rechead.model import Rechead
from steps.stage import Outcome, Stage, run_stage

KEPT = ("metrics.json", "samples.json", "report.html", "reasoning.json", "reasoning.html")
SAMPLES = 6  # reasoning samples a kind


def evaluate(stage: Stage) -> Outcome:
    """Rank the test rows by the shipped model, its variants and the baselines, and write down how they compare."""
    require_same_tokenizer(stage.inputs("align/policy"), stage.inputs("backbone/model"))
    train, valid, rows = (read(stage, f"sequence/{part}.parquet", tables.ROWS) for part in ("train", "valid", "test"))
    catalogue = Catalogue.from_table(read(stage, "ingest/items.parquet", tables.ITEMS))
    test, known = scoring.TestSet.from_rows(rows), pl.concat([train, valid])
    texts = completions(stage)
    judge(stage, texts, pl.concat([known, rows]), catalogue)
    head = Rechead.load(recheads_of(stage.root / "outputs") / "final", stage.vectors)
    own = scoring.reasoning_of(texts.shipped, test.groups)
    variants: dict[str, scoring.Reasoning | None] = {
        "rporec": own,
        "stage1": scoring.reasoning_of(texts.before, test.groups),
        "reasoning_removed": None,
        "shuffled_reasoning": scoring.shuffle_reasoning(own, test.users, stage.params.run.seed),
    }
    ranks, confidence = scoring.rank_rechead(head, test, variants)
    ranks |= stage1_apart(stage, test, variants)
    baselines = fit_all(train, valid, head.reader.items, stage.params, stage.work)
    for name, ranker in baselines.rankers.items():
        ranks[name] = scoring.rank_baseline(ranker, test, name, catalogue.n)
    frame = frames.ranks_frame(label_rows(rows, known), ranks)
    oracle = frames.oracle_rows(rows, catalogue.item_ids, read(stage, "ingest/oracle.parquet", tables.ORACLE))
    found = Inputs(frame, confidence[test.group_pos], texts.shipped, oracle, catalogue.n, baselines.chosen)
    metrics = results(found, stage.params.evaluate, stage.params.run.seed)
    told = samples.tell(frame, test, texts.shipped, samples.Models(catalogue, head), SAMPLES)
    write(stage, frame, metrics, told)
    reached = metrics["rankers"]["rporec"]["ndcg@10"]
    shown = "unknown" if reached is None else f"{reached:.4f}"
    flat = {f"{ranker}_{key}": value for ranker, means in metrics["rankers"].items() for key, value in means.items()}
    numbers = {key: float(value) for key, value in flat.items() if value is not None}
    return Outcome(f"{rows.height} rows by {len(RANKERS)} rankers, NDCG@10 {shown}", numbers, KEPT)


def read(stage: Stage, path: str, table: tables.Table) -> pl.DataFrame:
    """Read a table of an earlier stage."""
    return tables.read(stage.inputs(path), table)


def stage1_apart(
    stage: Stage, test: scoring.TestSet, variants: dict[str, scoring.Reasoning | None]
) -> dict[str, Ranks]:
    """Return the ranks of stage 1 by the Rechead that reads the backbone, where the shipped writer's is another."""
    outputs = stage.root / "outputs"
    if recheads_of(outputs) == recheads_of_backbone(outputs):
        return {}
    head = Rechead.load(recheads_of_backbone(outputs) / "final", stage.vectors)
    return {"stage1": scoring.rank_rechead(head, test, {"stage1": variants["stage1"]})[0]["stage1"]}


def completions(stage: Stage) -> written.Written:
    """Return what policy and backbone wrote, and which of them ships."""
    policy, backbone = (read(stage, f"{name}/completions.parquet", tables.COMPLETIONS) for name in ("align", "cot"))
    return written.Written(read_json(stage.inputs("align/align.json"))["ships"], policy, backbone)


def judge(stage: Stage, texts: written.Written, rows: pl.DataFrame, catalogue: Catalogue) -> None:
    """Write the report on the written reasoning, or stop the run where a writer was told targets."""
    composed = read(stage, "backbone/composed.parquet", tables.COMPOSED)
    finished = Finished(texts.named, rows, composed, catalogue, written.token_counter(stage.inputs("align/policy")))
    found = written.judge(texts.ships, finished, stage.params.evaluate.told_margin, stage.params.run.seed)
    write_json(stage.new / "reasoning.json", found)
    write_text(stage.new / "reasoning.html", render_reasoning("RPORec: the written reasoning", found))


def write(stage: Stage, frame: pl.DataFrame, metrics: samples.Json, told: dict[str, list[samples.Json]]) -> None:
    """Write the stage's files."""
    (stage.new / "curves").mkdir()
    tables.write(frame, stage.new / "ranks.parquet", tables.ranks_table(list(RANKERS)))
    write_json(stage.new / "metrics.json", metrics)
    write_json(stage.new / "samples.json", told)
    hit_curves(frame).write_csv(stage.new / "curves" / "hit_rate.csv")
    bins = pl.DataFrame(metrics["calibration"]["bins"], schema=scoring.RELIABILITY)
    bins.write_csv(stage.new / "reliability.csv")
    curves = training_charts(stage.root / "outputs")
    write_text(stage.new / "report.html", render(ReportData("RPORec: evaluation", metrics, told, curves)))


if __name__ == "__main__":
    run_stage("evaluate", evaluate)
