"""New items of the demo market can be ranked by their texts and not by their ids; docs/market.md gives the figures.

The figures again: `python -c "from tests.data.test_market_text import measure; print(measure())"`.
"""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from rporec import config
from rporec.data.market import simulate
from rporec.evaluation.metrics import ndcg, rank_targets
from tests.counted import by_row
from tests.project import ROOT

NEWEST = 28  # days, valid and test of the demo
HISTORY = 20  # items
FEW = 5  # training purchases below which an item counts as hardly known
# What the table says of an item, and how fast what was bought before loses weight: a type in mind or a series started
# is soon over, a taste is not.
DECAY = {"category": 0.5, "series": 0.5, "brand": 0.9, "material": 0.9, "price_band": 0.9}
PRIOR = 3.0  # pseudo-purchases spread as in training; set once
LEANING = 30.0  # purchases that the texts' chances count for; best of 3, 10, ... 1000 on the 28 days before these


def measure():
    """Return shares of new-item rows, and NDCG@10 of each ranker with its standard error, on the newest 28 days."""
    params = config.load(ROOT / "params.yaml")
    as_of = dt.date.fromisoformat(params.ingest.as_of)
    shop = simulate(params.ingest.market, as_of, params.run.seed)
    cut = int(dt.datetime.combine(as_of, dt.time(), dt.UTC).timestamp()) - NEWEST * 86_400
    rows = histories(shop)
    train, late = rows.filter(pl.col("timestamp") < cut), rows.filter(pl.col("timestamp") >= cut)
    bought = shop.interactions.filter(pl.col("timestamp") < cut)["item_id"].value_counts()
    seen = shop.items.join(bought, on="item_id", how="left", maintain_order="left")["count"].fill_null(0).to_numpy()
    ids, texts = by_ids(train, shop.items.height), by_texts(train, shop.items)
    rankers = {"ids": ids, "texts": texts, "both": lambda past: ids(past) + LEANING * texts(past)}
    target = late["item"].to_numpy()
    groups = {"all": seen >= 0, "unsold": seen == 0, "hardly_sold": seen < FEW, "known": seen >= FEW}
    found = {"rows": len(target), **{f"share_{group}": mask[target].mean() for group, mask in groups.items()}}
    for name, ranker in rankers.items():
        gains = ndcg(rank_targets(ranker(late["history"].to_list()), np.arange(len(target)), target), 10)
        for group, mask in groups.items():
            chosen = gains[mask[target]]
            found[f"{name}_{group}"] = chosen.mean()
            found[f"{name}_{group}_error"] = chosen.std() / np.sqrt(len(chosen))
    return {name: round(float(value), 4) for name, value in found.items()}


def histories(shop):
    """One row a purchase after the user's first: history (places in the item table, oldest first), item, timestamp."""
    place = {item: i for i, item in enumerate(shop.items["item_id"])}
    rows = shop.interactions.with_columns(item=pl.col("item_id").replace_strict(place)).sort("user_id", "timestamp")
    past = [pl.col("item").shift(back).over("user_id") for back in range(HISTORY, 0, -1)]
    rows = rows.with_columns(history=pl.concat_list(past).list.drop_nulls())
    return rows.filter(pl.col("history").list.len() > 0).sort("timestamp")


def by_ids(train, n_items):
    """Decayed transition counts between ids, ties broken by popularity."""
    counts = by_row(train["history"].to_list(), train["item"].to_numpy(), n_items, 0.5)
    return lambda past: counts.scores(past).astype(np.float64) + 1e-6 * counts.popularity


def by_texts(train, items):
    """The chance of an item from what is written: that of its type, times the lift of each other attribute."""
    values = attributes(items)
    tables = {name: (column, *table(train, column, DECAY[name])) for name, column in values.items()}

    def score(past):
        # Smoothed transition counts between attributes; the chance of a type is shared out over its items.
        total = -np.log(np.bincount(values["category"])[values["category"]])[None, :]
        for name, (column, counts, base) in tables.items():
            chance = counts.scores([column[np.asarray(line)] for line in past]) + PRIOR * base
            chance /= chance.sum(axis=1, keepdims=True)
            total = total + np.log(chance if name == "category" else chance / base)[:, column]
        chance = np.exp(total - total.max(axis=1, keepdims=True))
        return chance / chance.sum(axis=1, keepdims=True)

    return score


def table(train, column, decay):
    """Transition counts between the values of one attribute, and how often each is bought."""
    past = [column[np.asarray(line)] for line in train["history"].to_list()]
    counts = by_row(past, column[train["item"].to_numpy()], int(column.max()) + 1, decay)
    base = counts.popularity + 1
    return counts, base / base.sum()


def attributes(items):
    """Each attribute as numbers 0, 1, ... an item; all of them read from the item table."""
    words = pl.col("title").str.split(" ")
    read = items.select(
        "category", "brand",
        series=words.list.slice(0, 2).list.join(" "),
        material=words.list.get(2),
        price_band=(pl.col("price").rank().over("category") * 5 / (pl.len().over("category") + 1)).floor(),
    )  # fmt: skip
    return {name: read[name].rank("dense").to_numpy().astype(np.int64) - 1 for name in DECAY}


@pytest.fixture(scope="module")
def figures():
    return measure()


def test_new_items_are_a_real_share_of_late_purchases(figures):
    assert figures["rows"] > 5_000
    assert figures["share_hardly_sold"] > 0.03
    assert figures["share_unsold"] < figures["share_hardly_sold"] < 0.3


def test_texts_rank_new_items_that_ids_cannot(figures):
    assert figures["ids_unsold"] < 0.01
    assert figures["texts_unsold"] > 0.1
    assert figures["texts_hardly_sold"] > 3 * figures["ids_hardly_sold"]


def test_both_together_beat_ids_everywhere(figures):
    assert figures["both_all"] > figures["ids_all"] + 0.004
    assert figures["both_known"] > figures["ids_known"]
