"""Stage backbone: a language model that writes reasoning, from the fit slice or by name."""

from __future__ import annotations

import logging
import os

import numpy as np
import polars as pl

from rporec import parent, tables, weights
from rporec.backbone.device import require_device
from rporec.backbone.learn import Learned, Material, Means, learn_to_write
from rporec.backbone.taught import KEPT
from rporec.catalogue import Catalogue
from rporec.encode.static import StaticEncoder
from rporec.files import atomic_file, read_json, write_json
from rporec.reasoning import lookup
from steps.stage import Outcome, Stage, run_stage

log = logging.getLogger("rporec")
TEXT_DIM = 128  # entries of the vectors by which items are near in text


def backbone(stage: Stage) -> Outcome:
    """Make the backbone and write its folder, the texts it was taught, its training curve and a summary."""
    params, run = stage.params.backbone, stage.params.run
    require_device(run.device)
    weights.require(weights.of_backbone(params, stage.root), stage.root / "backbone.lock.json", "backbone.name")
    rows = tables.read(stage.inputs("sequence/train.parquet"), tables.ROWS)
    catalogue = Catalogue.from_table(tables.read(stage.inputs("ingest/items.parquet"), tables.ITEMS))
    start, before = going_on(stage, rows)
    log.info("backbone: %s", start.why)
    near = neighbours(catalogue, params.evidence.neighbours, run.seed)
    lookup.save_neighbours(near, stage.new / "neighbours.safetensors")
    material = Material(
        fit=rows.filter(pl.col("slice") == "fit"),
        held_out=rows.filter(pl.col("slice") == "reason"),
        catalogue=catalogue,
        near=near,
        parent=start.folder / "model" if start.folder else None,
    )
    means = Means(stage.work, stage.home / "teacher", run.device, os.environ.get("RPOREC_TEACHER_KEY"))
    learned = learn_to_write(material, params, run.seed, means)
    learned.writer.save(stage.new / "model")
    tables.write(learned.composed, stage.new / "composed.parquet", tables.COMPOSED)
    tables.write(all_learned(learned.rows, rows, before), stage.new / "learned.parquet", tables.LEARNED)
    losses = learned.tuned.losses
    curve = pl.DataFrame(
        {"step": range(1, len(losses) + 1), "loss": losses}, schema={"step": pl.Int64, "loss": pl.Float64}
    )
    with atomic_file(stage.new / "curve.csv") as temporary:
        curve.write_csv(temporary, float_precision=6)
    summary = _summary(learned)
    parameters = sum(weight.numel() for weight in learned.writer.model.parameters())
    made_by = {"source": params.source, "name": params.name, "teacher": params.teacher.model, "parameters": parameters}
    told = {"start": start.why, "learned_until": parent.newest(material.fit, before)}
    write_json(stage.new / "backbone.json", {**made_by, **summary, **told})
    if learned.lessons:
        write_json(stage.new / "teacher.json", {str(row): text for row, text in learned.lessons.texts.items()})
    loss = "" if learned.held_out_loss is None else f", held-out loss {learned.held_out_loss:.3f}"
    return Outcome(
        closing=f"{parameters / 1e6:.2f} M parameters fine-tuned on {learned.composed.height} texts"
        f"{_by_teacher(learned)}, {learned.tuned.tokens} tokens{loss}",
        metrics={name: float(value) for name, value in {**summary, **_asked_now(learned)}.items() if value is not None},
        files=("backbone.json", "curve.csv"),
    )


def going_on(stage: Stage, rows: pl.DataFrame) -> tuple[parent.Start, int | None]:
    """Return where the backbone begins, and the newest timestamp (s UTC) that it has learned before; None = fresh.

    It goes on from the parent's only where that, and what that went on from, learned nothing as late as tonight's
    slice reason: what it writes for reason, align, valid and test must come from rows before them.
    """
    start = parent.begin(stage.root, "backbone")
    if start.folder is None:
        return start, None
    if not stage.params.backbone.epochs:
        return start.refused("backbone.epochs is 0, so nothing was learned"), None
    until = read_json(start.folder / "backbone.json").get("learned_until")
    if not parent.is_clean(until, parent.oldest(rows.filter(pl.col("slice") != "fit"))):
        return start.refused("the parent's backbone has learned rows that must be new tonight"), None
    return start, until


def all_learned(own: pl.DataFrame, rows: pl.DataFrame, before: int | None) -> pl.DataFrame:
    """Return the table LEARNED: tonight's own rows, and those of train that forebears can have learned."""
    if before is None:
        return own
    earlier = rows.filter(pl.col("timestamp") <= before).select("row_id")
    return pl.concat([own, earlier]).unique().sort("row_id")


def neighbours(catalogue: Catalogue, wanted: int, seed: int) -> np.ndarray:
    """Return the items nearest in text to each, [N, wanted] int32."""
    if not wanted:
        return lookup.no_neighbours(catalogue.n)
    texts = [catalogue.full_text(item) for item in range(catalogue.n)]
    return lookup.nearest_items(StaticEncoder.fit(texts, TEXT_DIM, seed).encode(texts), wanted)


def _summary(learned: Learned) -> dict[str, float | None]:
    """Return what is the same in every run of the same work."""
    cost = learned.lessons.asked.whole if learned.lessons else None
    return {
        "vocabulary": len(learned.writer.tokenizer),
        "examples": learned.composed.height,
        "tokens": learned.tuned.tokens,
        "steps": len(learned.tuned.losses),
        "last_loss": learned.tuned.losses[-1] if learned.tuned.losses else None,
        "held_out_loss": learned.held_out_loss,
        "prompts_shortened": learned.shortened,
        "items_dropped": learned.dropped,
        "evidence_dropped": learned.withheld,
        **{f"teacher_{name}": count for name, count in learned.taught.items()},
        "teacher_prompt_tokens": cost.prompt_tokens if cost else None,
        "teacher_completion_tokens": cost.completion_tokens if cost else None,
        "teacher_dollars": cost.dollars if cost else None,
    }


def _asked_now(learned: Learned) -> dict[str, float | None]:
    """Return what this run itself asked and spent: kept replies cost nothing, so it is no part of the outputs."""
    cost = learned.lessons.asked.now if learned.lessons else None
    return {"teacher_asked_now": cost.replies, "teacher_dollars_now": cost.dollars} if cost else {}


def _by_teacher(learned: Learned) -> str:
    return f" ({learned.taught[KEPT]} of {sum(learned.taught.values())} by the teacher)" if learned.taught else ""


if __name__ == "__main__":
    run_stage("backbone", backbone)
