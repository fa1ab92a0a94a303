"""A toy market: the next item is mostly of the last one's brand, and an answer may name the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from rporec import tables
from rporec.catalogue import Catalogue
from rporec.encode.source import EMBEDDED, Source
from rporec.reasoning.parse import Parsed
from rporec.rechead.arms import Recipe, Rows, make_reader
from rporec.rechead.examples import Examples
from rporec.rechead.reader import Reader
from rporec.rechead.reasoning import ReasoningFit, Told
from rporec.rechead.tower import TowerShape
from rporec.rechead.train import Fit

BRANDS = ("acme", "bolt", "crown", "delta", "ember")
THINGS = ("lamp", "chair", "table", "hammer", "ladder", "bucket", "rope", "brush")
N = len(BRANDS) * len(THINGS)
H = 6
SEED = 3


def items() -> pl.DataFrame:
    texts = [(brand, thing) for brand in BRANDS for thing in THINGS]
    return pl.DataFrame(
        {
            "item_id": [f"i{i:02d}" for i in range(N)],
            "title": [f"{brand} {thing} no {i}" for i, (brand, thing) in enumerate(texts)],
            "description": [""] * N,
            "brand": [brand for brand, _ in texts],
            "category": [thing for _, thing in texts],
            "price": [None] * N,
            "known_from": [None] * N,
        },
        schema=tables.ITEMS.columns,
    )


def catalogue() -> Catalogue:
    return Catalogue.from_table(items())


def rows(groups: int, seed: int, first: int = 0, label: str = "fit") -> pl.DataFrame:
    """Groups of one or two rows: history of 1 to H items, each target mostly of the last item's brand."""
    rng = np.random.default_rng(seed)
    lines = []
    for group in range(groups):
        history = rng.integers(0, N, rng.integers(1, H + 1)).tolist()
        brand = history[-1] // len(THINGS) if rng.random() < 0.8 else int(rng.integers(len(BRANDS)))
        things = rng.choice(len(THINGS), rng.integers(1, 3), replace=False)
        lines += [(first + group, history, brand * len(THINGS) + int(thing)) for thing in things]
    return pl.DataFrame(
        {
            "row_id": [first * 2 + place for place in range(len(lines))],
            "group": [group for group, _, _ in lines],
            "user_id": [f"u{group}" for group, _, _ in lines],
            "timestamp": [None] * len(lines),
            "history": [history for _, history, _ in lines],
            "target": [target for _, _, target in lines],
            "slice": [label] * len(lines),
        },
        schema=tables.ROWS.columns,
    )


def tell(examples: Examples, honesty: float, seed: int) -> Told:
    """Give each group one answer: a line of one of its targets with chance `honesty`, else of any item."""
    rng = np.random.default_rng(seed)
    known = catalogue()
    first = {int(owner): int(target) for owner, target in zip(examples.owner, examples.targets, strict=True)}
    samples = []
    for place in range(len(examples)):
        item = first[place] if rng.random() < honesty else int(rng.integers(N))
        samples.append([Parsed(f"seen {known.brands[item]}", f"{known.brands[item]} {known.titles[item]}", True, 0)])
    return Told(examples, samples)


def shuffled(told: Told, seed: int) -> Told:
    order = np.random.default_rng(seed).permutation(len(told.samples))
    return Told(told.examples, [told.samples[place] for place in order])


def shape(**changes: object) -> TowerShape:
    values = {"n_items": N, "text_dim": 16, "width": 16, "layers": 2, "heads": 2, "history_length": H, "dropout": 0.1}
    return TowerShape(**{**values, **changes})


def fit(**changes: object) -> Fit:
    values = {
        "shape": shape(), "epochs": 6, "patience": 3, "batch_size": 32, "learning_rate": 0.01, "weight_decay": 0.01,
        "seed": SEED,
    }  # fmt: skip
    return Fit(**{**values, **changes})


def reader() -> Reader:
    return make_reader(catalogue(), Source(EMBEDDED, 16, SEED, kept=Path("unused")))


def recipe(architecture: str = "hybrid", epochs: int = 30) -> Recipe:
    tower = fit(shape=shape(ids=architecture == "hybrid"))
    return Recipe(architecture, tower, ReasoningFit(epochs, 0.1, SEED), 0.5)


def make_rows(honesty: float) -> Rows:
    parts = {
        name: Examples.from_rows(rows(groups, SEED + place, 10_000 * place, name))
        for place, (name, groups) in enumerate({"fit": 500, "reason": 400, "align": 100, "valid": 300}.items())
    }
    everything = {
        name: Examples.from_rows(pl.concat([rows(g, SEED + p, 10_000 * p, n) for p, (n, g) in enumerate(kept.items())]))
        for name, kept in {
            "train": {"fit": 500, "reason": 400, "align": 100},
            "all": {"fit": 500, "reason": 400, "align": 100, "valid": 300},
        }.items()
    }
    return Rows(
        fit=parts["fit"],
        reason=tell(parts["reason"], honesty, 1),
        train=everything["train"],
        valid=tell(parts["valid"], honesty, 2),
        everything=everything["all"],
    )
