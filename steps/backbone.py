"""Stage backbone: a language model that writes reasoning, from the fit slice or by name."""

from __future__ import annotations

import polars as pl

from rporec import tables
from rporec.backbone.learn import Learned, Material, learn_to_write
from rporec.catalogue import Catalogue
from rporec.files import atomic_file, write_json
from steps.stage import Outcome, Stage, run_stage


def backbone(stage: Stage) -> Outcome:
    """Make the backbone and write its folder, the texts it was taught, its training curve and a summary."""
    params = stage.params.backbone
    rows = tables.read(stage.inputs("sequence/train.parquet"), tables.ROWS)
    material = Material(
        fit=rows.filter(pl.col("slice") == "fit"),
        held_out=rows.filter(pl.col("slice") == "reason"),
        catalogue=Catalogue.from_table(tables.read(stage.inputs("ingest/items.parquet"), tables.ITEMS)),
    )
    learned = learn_to_write(material, params, stage.params.run.seed, stage.work)
    learned.writer.save(stage.new / "model")
    tables.write(learned.composed, stage.new / "composed.parquet", tables.COMPOSED)
    losses = learned.tuned.losses
    curve = pl.DataFrame(
        {"step": range(1, len(losses) + 1), "loss": losses}, schema={"step": pl.Int64, "loss": pl.Float64}
    )
    with atomic_file(stage.new / "curve.csv") as temporary:
        curve.write_csv(temporary, float_precision=6)
    summary = _summary(learned)
    parameters = sum(weight.numel() for weight in learned.writer.model.parameters())
    write_json(
        stage.new / "backbone.json", {"source": params.source, "name": params.name, "parameters": parameters, **summary}
    )
    loss = "" if learned.held_out_loss is None else f", held-out loss {learned.held_out_loss:.3f}"
    return Outcome(
        closing=f"{parameters / 1e6:.2f} M parameters fine-tuned on {learned.composed.height} composed texts, "
        f"{learned.tuned.tokens} tokens{loss}",
        metrics={name: float(value) for name, value in summary.items() if value is not None},
        files=("backbone.json", "curve.csv"),
    )


def _summary(learned: Learned) -> dict[str, float | None]:
    return {
        "vocabulary": len(learned.writer.tokenizer),
        "examples": learned.composed.height,
        "tokens": learned.tuned.tokens,
        "steps": len(learned.tuned.losses),
        "last_loss": learned.tuned.losses[-1] if learned.tuned.losses else None,
        "held_out_loss": learned.held_out_loss,
        "prompts_shortened": learned.shortened,
        "items_dropped": learned.dropped,
    }


if __name__ == "__main__":
    run_stage("backbone", backbone)
