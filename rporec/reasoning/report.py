"""What there is to tell about written reasoning: figures of each set of texts, the check for told targets, samples.

Reads targets, so it is only for texts that are finished: nothing here may reach a writer.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from rporec.catalogue import Catalogue
from rporec.reasoning import told
from rporec.reasoning.figures import Json, Known, figures
from rporec.reasoning.ground import Grounder
from rporec.reasoning.prompt import item_line, split_prompt

_SAMPLES = 5  # a kind


@dataclass(frozen=True)
class Finished:
    """Finished texts with all that they are judged by.

    Attributes:
        texts: COMPLETIONS tables by name, each of one writer and one slice, in the order of the report.
        rows: the ROWS table with the targets of these groups, and the fit rows.
        composed: the COMPOSED table of the fine-tuning examples.
        catalogue: texts of N items.
        count_tokens: length of a completion in tokens.
    """

    texts: Mapping[str, pl.DataFrame]
    rows: pl.DataFrame
    composed: pl.DataFrame
    catalogue: Catalogue
    count_tokens: Callable[[str], int]


@dataclass(frozen=True)
class Report:
    """What was found: reasoning.json, and what the check for told targets says of each set of texts."""

    figures: Json
    told: dict[str, told.Told]


def report(finished: Finished, margin: float, seed: int) -> Report:
    """Return the figures of all texts.

    Args:
        finished: the texts.
        margin: excess of named targets that is let pass (share of rows).
        seed: of the samples.
    """
    catalogue, composed = finished.catalogue, finished.composed
    lines = {item_line(item, catalogue) for item in range(catalogue.n)}
    known = Known(set(composed["thought"]), set(composed["answer"]), lines)
    telling = told.telling_words(catalogue, _learned(finished.rows.filter(pl.col("slice") == "fit")))
    found: dict[str, told.Told] = {}
    by_name: Json = {}
    for name, written in finished.texts.items():
        found[name] = told.check(list(_texts(written, finished.rows)), telling, margin)
        by_name[name] = {**figures(written, known, finished.count_tokens, seed), "told": _as_json(found[name], margin)}
    chosen = samples(finished, seed)
    return Report({"texts": by_name, "composed": composed.height, "samples": chosen}, found)


def samples(finished: Finished, seed: int) -> dict[str, list[Json]]:
    """Return five `good` (well formed, all that is named is in the history) and five `bad` texts, drawn by seed."""
    grounder = Grounder(finished.catalogue)
    completions = pl.concat([table.with_columns(texts=pl.lit(name)) for name, table in finished.texts.items()])
    known = completions.join(finished.rows.select("group"), on="group", how="semi")
    good = pl.col("well_formed") & (pl.col("grounded") == 1.0)
    drawn: dict[str, list[Json]] = {}
    for kind, wanted in (("good", good), ("bad", ~good)):
        rows = known.filter(wanted).sort("texts", "group", "sample")
        places = sorted(random.Random(seed).sample(range(rows.height), min(_SAMPLES, rows.height)))
        drawn[kind] = [_sample(row, finished.rows, grounder) for row in rows[places].iter_rows(named=True)]
    return drawn


def _sample(row: Json, rows: pl.DataFrame, grounder: Grounder) -> Json:
    shown, evidence = split_prompt(row["prompt"])
    kept = ("texts", "group", "sample", "completion", "thought", "answer", "well_formed", "grounded")
    history = rows.filter(pl.col("group") == row["group"])["history"][0].to_list()
    missing = grounder.check(row["thought"], history[-len(shown) :], evidence).missing
    beside = [line.removeprefix("- ") for line in evidence.strip().splitlines()]
    return {"shown": [*shown, *beside], "missing": list(missing), **{key: row[key] for key in kept}}


def _learned(fit: pl.DataFrame) -> set[int]:
    return {*fit["target"].to_list(), *fit["history"].explode(empty_as_null=False).to_list()}


def _texts(written: pl.DataFrame, rows: pl.DataFrame) -> Iterator[told.Text]:
    """Yield what was written for each group with the targets of its rows."""
    targets = rows.group_by("group").agg(pl.col("target"))
    grouped = written.sort("group", "sample").group_by("group", maintain_order=True)
    by_group = grouped.agg(pl.col("prompt").first(), pl.col("completion"))
    for row in by_group.join(targets, on="group", how="inner", maintain_order="left").iter_rows(named=True):
        yield told.Text(row["prompt"], row["completion"], row["target"])


def _as_json(found: told.Told, margin: float) -> Json:
    return {
        "rows": found.rows,
        "named": found.named,
        "by_chance": found.by_chance,
        "excess": found.excess,
        "margin": margin,
        "told": found.told,
    }
