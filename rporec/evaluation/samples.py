"""Reasoning samples for the report: where it helped most, and where it failed.

Chosen by the effect on the rank, not by taste; the same ranks give the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from rporec.catalogue import Catalogue
from rporec.evaluation.results import primary_rows, ranks_of
from rporec.evaluation.scoring import Head, TestSet, reasoning_of

Json = dict[str, Any]

_TOP = 5
_SHOWN_HISTORY = 8


@dataclass(frozen=True)
class Models:
    """What describing a sample needs: item titles, and the Rechead for the best items of its row."""

    catalogue: Catalogue
    head: Head


@dataclass(frozen=True)
class Chosen:
    """Row positions of the samples: `good` where reasoning raised NDCG@10 most, `bad` where it broke or lowered it."""

    good: list[int]
    bad: list[int]


def choose(ranks: pl.DataFrame, completions: pl.DataFrame, count: int) -> Chosen:
    """Choose at most `count` rows a kind, one a group.

    Bad are, in this order: not well formed, named what is not in the history, moved the target down.
    """
    values = primary_rows(ranks, ("rporec", "reasoning_removed"))
    firsts = completions.sort("group", "sample").unique("group", keep="first", maintain_order=True)
    table = (
        ranks.select("group")
        .with_row_index("place")
        .with_columns(lift=values["rporec"] - values["reasoning_removed"])
        .join(firsts.select("group", "well_formed", "grounded"), on="group", how="inner", maintain_order="left")
    )
    good = table.filter(pl.col("well_formed") & (pl.col("lift") > 0)).sort("lift", "place", descending=[True, False])
    bad = table.filter(~pl.col("well_formed") | (pl.col("grounded") < 1) | (pl.col("lift") < 0)).sort(
        "well_formed", "grounded", "lift", "place"
    )
    return Chosen(*(_first_of_groups(frame, count) for frame in (good, bad)))


def tell(
    ranks: pl.DataFrame, test: TestSet, completions: pl.DataFrame, models: Models, count: int
) -> dict[str, list[Json]]:
    """Return samples.json: for `good` and `bad` at most `count` rows, as the report shows them."""
    chosen = choose(ranks, completions, count)
    texts = {row["group"]: row for row in completions.sort("group", "sample", descending=True).iter_rows(named=True)}
    own, removed = (_positions(ranks, name) for name in ("rporec", "reasoning_removed"))

    def one(place: int) -> Json:
        group = int(test.group_pos[place])
        text = texts[test.groups[group]]
        titles = models.catalogue.titles
        return {
            "row_id": int(ranks["row_id"][place]),
            "history": [titles[item] for item in test.histories[group][-_SHOWN_HISTORY:]],
            "target": titles[int(test.targets[place])],
            "top": [titles[item] for item in _best(models.head, test, group, completions)],
            "rank": float(own[place]),
            "rank_removed": float(removed[place]),
            **{key: text[key] for key in ("completion", "thought", "answer", "well_formed", "grounded")},
        }

    return {kind: [one(place) for place in places] for kind, places in (("good", chosen.good), ("bad", chosen.bad))}


def _best(head: Head, test: TestSet, group: int, completions: pl.DataFrame) -> list[int]:
    logits = head.history_logits([test.histories[group]])
    scores = head.add_reasoning(logits, reasoning_of(completions, [test.groups[group]])).numpy()[0]  # [N]
    return [int(item) for item in np.argsort(-scores, kind="stable")[:_TOP]]


def _first_of_groups(frame: pl.DataFrame, count: int) -> list[int]:
    return frame.unique("group", keep="first", maintain_order=True)["place"].head(count).to_list()


def _positions(ranks: pl.DataFrame, ranker: str) -> np.ndarray:
    """Return each row's expected position [n], 1 = first."""
    found = ranks_of(ranks, ranker)
    return np.asarray(1 + found.above + found.ties / 2)
