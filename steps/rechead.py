"""Stage rechead: rows and the backbone's reasoning in; the Recheads `reward`, `chosen` and `final` out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from rporec import tables, weights
from rporec.catalogue import Catalogue
from rporec.config import Params
from rporec.encode.source import Source
from rporec.files import write_json
from rporec.reasoning.parse import parse
from rporec.rechead import arms, crossfit
from rporec.rechead.examples import Examples
from rporec.rechead.quality import qualities
from rporec.rechead.reader import Reader
from rporec.rechead.reasoning import ReasoningFit, Told
from rporec.rechead.tower import TowerShape
from rporec.rechead.train import Fit
from steps.stage import Outcome, Stage, run_stage


def rechead(stage: Stage) -> Outcome:
    """Fit the head three times and the reasoning module once."""
    planned = stage.root / "rechead.lock.json"
    weights.require(weights.of_encoder(stage.params.rechead, stage.root), planned, "rechead.encoder")
    train, valid = (tables.read(stage.inputs(f"sequence/{part}.parquet"), tables.ROWS) for part in ("train", "valid"))
    catalogue = Catalogue.from_table(tables.read(stage.inputs("ingest/items.parquet"), tables.ITEMS))
    told = tables.read(stage.inputs("cot/completions.parquet"), tables.COMPLETIONS)
    rows = rows_of(train, valid, told)
    memory = audit(stage, train, valid, rows, catalogue)
    reader = arms.make_reader(catalogue, encoder_source(stage.params, stage.home))
    made = arms.make_arms(rows, reader, recipe(stage.params, reader, rows.everything.longest), stage.work)
    for name, one in (("reward", made.reward), ("chosen", made.chosen), ("final", made.final)):
        one.save(stage.new / name)
    pl.DataFrame([asdict(epoch) for epoch in made.curve]).rename({"ndcg": "valid_ndcg@10"}).write_csv(
        stage.new / "curve.csv"
    )
    found = qualities(made.chosen, rows.valid)
    write_json(stage.new / "rechead.json", report(made, found, memory))
    lift = found["reasoning"]["ndcg@10"] - max(found[arm]["ndcg@10"] for arm in ("no_reasoning", "reasoning_removed"))
    return Outcome(
        f"3 heads, {made.epochs[1]} epochs, valid NDCG@10 {found['reasoning']['ndcg@10']:.4f}, "
        f"{lift:+.4f} by reasoning",
        {f"valid_{arm}_{key}": value for arm, values in found.items() for key, value in values.items()},
        ("curve.csv", "rechead.json"),
    )


def audit(
    stage: Stage, train: pl.DataFrame, valid: pl.DataFrame, rows: arms.Rows, catalogue: Catalogue
) -> dict[str, Any]:
    """Stop the run where the backbone had learned rows that must be new to it; return what was found."""
    reason = train.filter(pl.col("slice") == "reason")
    learned = tables.read(stage.inputs("backbone/learned.parquet"), tables.LEARNED)["row_id"].to_list()
    align = train.filter(pl.col("slice") == "align")  # the prompts of RL, which no Rechead that rewards has seen either
    new = {"reason": reason, "align": align, "valid": valid}
    crossfit.refuse_learned(learned, {name: part["row_id"].to_list() for name, part in new.items()})
    asked = {
        name: crossfit.Asked(told, part.unique("group", keep="first").sort("group")["user_id"].to_numpy())
        for name, told, part in (("reason", rows.reason, reason), ("valid", rows.valid, valid))
    }
    margin = stage.params.rechead.memory_margin
    memory = crossfit.look(rows.fit, asked["reason"], asked["valid"], catalogue, margin)
    crossfit.refuse(memory, margin)
    return crossfit.as_json(memory, margin)


def rows_of(train: pl.DataFrame, valid: pl.DataFrame, completions: pl.DataFrame) -> arms.Rows:
    """Cut the rows as the Recheads use them, and join the completions of reason and valid."""
    pairs = [(group, parse(text)) for group, text in completions.select("group", "completion").iter_rows()]
    held = Examples.from_rows(valid)
    reason = Examples.from_rows(train.filter(pl.col("slice") == "reason"))
    return arms.Rows(
        fit=Examples.from_rows(train.filter(pl.col("slice") == "fit")),
        reason=Told.of(reason, pairs),
        train=Examples.from_rows(train),
        valid=Told.of(held, pairs),
        everything=Examples.from_rows(pl.concat([train, valid])),
    )


def encoder_source(params: Params, home: Path) -> Source:
    """Return which text encoder is wanted; vectors are kept below `home` (RPOREC_HOME)."""
    head = params.rechead
    return Source(head.encoder, head.text_dim, params.run.seed, home / "vectors")


def recipe(params: Params, reader: Reader, longest: int) -> arms.Recipe:
    """Return how the Recheads are made, for the reader's items and histories of at most `longest` items."""
    head, seed = params.rechead, params.run.seed
    n_items, text_dim = reader.items.shape
    shape = TowerShape(
        n_items=n_items,
        text_dim=text_dim,
        width=head.width,
        layers=head.layers,
        heads=head.heads,
        history_length=longest,
        dropout=head.dropout,
        ids=head.architecture == "hybrid",
    )
    fit = Fit(shape, head.epochs, head.patience, head.batch_size, head.learning_rate, head.weight_decay, seed)
    reasoning = ReasoningFit(head.reasoning_epochs, head.text_dropout, seed)
    return arms.Recipe(head.architecture, fit, reasoning, head.transition_decay)


def report(made: arms.Arms, found: dict[str, dict[str, float]], memory: dict[str, Any]) -> dict[str, Any]:
    """Return what rechead.json tells."""
    return {
        "epochs": {"reward": made.epochs[0], "chosen": made.epochs[1], "final": made.epochs[1]},
        "weights": {"reward": asdict(made.reward.weights), "chosen": asdict(made.chosen.weights)},
        "values": made.final.parameters(),
        "reasoning_losses": made.reasoning_losses,
        "valid": found,
        "memory": memory,
    }


if __name__ == "__main__":
    run_stage("rechead", rechead)
