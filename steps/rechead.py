"""Stage rechead: rows and the backbone's reasoning in; the Recheads `reward`, `chosen` and `final` out."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from rporec import parent, tables, weights
from rporec.catalogue import Catalogue
from rporec.config import Params
from rporec.encode.source import Source
from rporec.files import read_json, write_json
from rporec.reasoning.parse import parse
from rporec.rechead import arms, crossfit, warm
from rporec.rechead.examples import Examples
from rporec.rechead.quality import qualities
from rporec.rechead.reader import Reader
from rporec.rechead.reasoning import ReasoningFit, Told
from rporec.rechead.tower import TowerShape
from rporec.rechead.train import Fit
from steps.stage import Outcome, Stage, run_stage

log = logging.getLogger("rporec")


def rechead(stage: Stage) -> Outcome:
    """Fit the head three times and the reasoning module once."""
    planned = stage.root / "rechead.lock.json"
    weights.require(weights.of_encoder(stage.params.rechead, stage.root), planned, "rechead.encoder")
    train, valid = (tables.read(stage.inputs(f"sequence/{part}.parquet"), tables.ROWS) for part in ("train", "valid"))
    catalogue = Catalogue.from_table(tables.read(stage.inputs("ingest/items.parquet"), tables.ITEMS))
    told = tables.read(stage.inputs("cot/completions.parquet"), tables.COMPLETIONS)
    rows = rows_of(train, valid, told)
    memory = audit(stage, train, valid, rows, catalogue)
    start, old = going_on(stage, train, valid, catalogue)
    log.info("rechead: %s", start.why)
    source = encoder_source(stage.params, stage.home)
    reader = arms.make_reader(catalogue, source, old.encoder if old else None)
    made = arms.make_arms(rows, reader, recipe(stage.params, reader, rows.everything.longest, old), stage.work)
    for name, one in (("reward", made.reward), ("chosen", made.chosen), ("final", made.final)):
        one.save(stage.new / name)
    tables.write(warm.known(catalogue.item_ids), stage.new / warm.ITEMS, tables.KNOWN)
    pl.DataFrame([asdict(epoch) for epoch in made.curve]).rename({"ndcg": "valid_ndcg@10"}).write_csv(
        stage.new / "curve.csv"
    )
    found = qualities(made.chosen, rows.valid)
    told_of = {"start": start.why, "learned_until": learned_until(train, valid, start)}
    write_json(stage.new / "rechead.json", report(made, found, memory) | told_of)
    lift = found["reasoning"]["ndcg@10"] - max(found[arm]["ndcg@10"] for arm in ("no_reasoning", "reasoning_removed"))
    return Outcome(
        f"3 heads, {made.epochs[1]} epochs, valid NDCG@10 {found['reasoning']['ndcg@10']:.4f}, "
        f"{lift:+.4f} by reasoning",
        {f"valid_{arm}_{key}": value for arm, values in found.items() for key, value in values.items()},
        ("curve.csv", "rechead.json"),
    )


def going_on(
    stage: Stage, train: pl.DataFrame, valid: pl.DataFrame, catalogue: Catalogue
) -> tuple[parent.Start, warm.Warm | None]:
    """Return where the towers begin, and the parent's where they go on from these.

    All three go on or none: the epochs that `chosen` finds on valid are also those of `final`. Each must have learned
    nothing that its tonight's namesake must not know: `reward` no row of reason and align, `chosen` none of valid,
    `final` none of test, which are the rows after valid.
    """
    start = parent.begin(stage.root, "rechead")
    if start.folder is None:
        return start, None
    until = read_json(start.folder / "rechead.json").get("learned_until", {})
    last = parent.newest(valid)
    later = train.filter(pl.col("slice") != "fit")
    new = {
        "reward": parent.oldest(later), "chosen": parent.oldest(valid), "final": None if last is None else last + 1,
    }  # fmt: skip
    if known := [name for name in warm.TOWERS if not parent.is_clean(until.get(name), new[name])]:
        return start.refused(f"the parent's tower {known[0]} has learned rows that must be new tonight"), None
    old = warm.load(start.folder, catalogue.item_ids, stage.params.rechead.warm_epochs, stage.home / "vectors")
    shape = tower_shape(stage.params, catalogue.n, old.encoder.dim, 1)
    why = warm.misfit(old, shape)
    return (start.refused(why), None) if why else (start, old)


def learned_until(train: pl.DataFrame, valid: pl.DataFrame, start: parent.Start) -> dict[str, int | None]:
    """Return the newest timestamp (s UTC) that each tower has learned, by itself or before it was gone on with."""
    before = read_json(start.folder / "rechead.json")["learned_until"] if start.folder else {}
    own = {"reward": train.filter(pl.col("slice") == "fit"), "chosen": train, "final": pl.concat([train, valid])}
    return {name: parent.newest(rows, before.get(name)) for name, rows in own.items()}


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


def recipe(params: Params, reader: Reader, longest: int, old: warm.Warm | None = None) -> arms.Recipe:
    """Return how the Recheads are made.

    Args:
        params: all parameters.
        reader: with the items.
        longest: items of the longest history.
        old: towers to go on from, for fewer epochs; None = fresh ones.
    """
    head, seed = params.rechead, params.run.seed
    n_items, text_dim = reader.items.shape
    shape = tower_shape(params, n_items, text_dim, longest)
    epochs = old.epochs if old else head.epochs
    fit = Fit(shape, epochs, head.patience, head.batch_size, head.learning_rate, head.weight_decay, seed)
    reasoning = ReasoningFit(head.reasoning_epochs, head.text_dropout, seed)
    return arms.Recipe(head.architecture, fit, reasoning, head.transition_decay, old)


def tower_shape(params: Params, n_items: int, text_dim: int, longest: int) -> TowerShape:
    """Return the shape of the history towers for N items with vectors of this width, read up to `longest` items."""
    head = params.rechead
    return TowerShape(
        n_items=n_items,
        text_dim=text_dim,
        width=head.width,
        layers=head.layers,
        heads=head.heads,
        history_length=longest,
        dropout=head.dropout,
        ids=head.architecture == "hybrid",
    )


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
