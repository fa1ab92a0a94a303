"""The market: seeded, the same on the days that two dates share, with a signal that its oracle bounds."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from rporec import config
from rporec.config import MarketParams
from rporec.data.market import simulate
from rporec.data.market_goods import make_goods
from rporec.data.market_oracle import chances, oracle
from rporec.data.market_shoppers import USER_LIFE, find_lives, make_people
from rporec.data.market_walk import walk
from rporec.tables import ITEMS
from tests.project import ROOT

AS_OF = dt.date(2026, 1, 1)
SMALL = {
    "users": 300, "items": 80, "days": 60, "events_per_user": 8.0,
    "text_signal": 1.0, "brand_loyalty": 1.0, "drift": 0.35, "looked_at": None,
}  # fmt: skip


def small(as_of=AS_OF, seed=7, **changes):
    return simulate(MarketParams(**{**SMALL, **changes}), as_of, seed)


@pytest.fixture(scope="module")
def demo():
    return simulate(config.load(ROOT / "params.yaml").ingest.market, AS_OF, 7)


def test_same_seed_same_market_other_seed_another():
    one, two, other = small(), small(), small(seed=8)
    assert one.interactions.equals(two.interactions)
    assert one.items.equals(two.items)
    assert one.oracle.equals(two.oracle)
    assert not one.interactions.equals(other.interactions)


def test_a_later_date_adds_days_and_changes_none():
    earlier, later = small(), small(AS_OF + dt.timedelta(days=3))
    end = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
    start = end - 57 * 86_400
    shared = (pl.col("timestamp") >= start) & (pl.col("timestamp") < end)
    assert earlier.interactions.filter(shared).equals(later.interactions.filter(shared))
    assert later.interactions.filter(pl.col("timestamp") >= end).height > 50
    both = earlier.items.join(later.items, on="item_id", suffix="_later")
    assert both.filter(pl.col("title") != pl.col("title_later")).is_empty()


def test_time_and_items_stay_inside_the_period():
    shop = small()
    end = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
    assert shop.interactions["timestamp"].min() >= end - 60 * 86_400
    assert shop.interactions["timestamp"].max() < end
    assert shop.interactions.join(shop.items, on="item_id", how="anti").is_empty()
    assert abs(shop.items.height - 80) <= 2
    assert abs(shop.interactions.height - 2_400) < 400


def test_ids_and_texts_keep_their_form():
    shop = small()
    first = shop.items.row(0, named=True)
    assert shop.items["item_id"].str.contains(r"^P\d{5}\.\d{2}$").all()
    assert shop.interactions["user_id"].str.contains(r"^U\d{5}\.\d{2}$").all()
    brand, series, material, *name, size, colour = first["title"].split()
    assert (first["brand"], first["category"]) == (brand, " ".join(name))
    assert first["description"].startswith(f"A {size} {colour} {' '.join(name)} of {material} from the {series} series")
    assert first["price"] == round(first["price"], 2) > 0
    assert dict(shop.items.schema) == ITEMS.columns


def test_texts_speak_of_items_only_with_text_signal():
    own, shuffled, half = small(), small(text_signal=0.0), small(text_signal=0.5)
    assert own.interactions.equals(shuffled.interactions)  # behaviour does not read texts
    same = own.items["title"] == shuffled.items["title"]
    assert same.mean() < 0.05
    assert 0.3 < (own.items["title"] == half.items["title"]).mean() < 0.7
    assert follows_category(own) > 3 * follows_category(shuffled)


def follows_category(shop):
    """Share of purchases in the same category as the user's last one."""
    rows = shop.interactions.join(shop.items, on="item_id").sort("user_id", "timestamp")
    last = rows.with_columns(last=pl.col("category").shift(1).over("user_id")).drop_nulls("last")
    return (last["category"] == last["last"]).mean()


def test_oracle_has_one_row_an_event_and_lies_in_range():
    shop = small()
    assert shop.oracle.drop("ndcg").equals(shop.interactions)
    assert shop.oracle["ndcg"].is_between(0, 1).all()
    # Who never changes intent is easier to foresee than who always does.
    assert small(drift=0.0).oracle["ndcg"].mean() > small(drift=1.0).oracle["ndcg"].mean() + 0.03


def test_demo_market_is_worth_learning(demo):
    """At least 2,000 test users; popularity < transitions < oracle, each by a clear step."""
    end = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()) - 14 * 86_400
    index = {item: i for i, item in enumerate(demo.items["item_id"])}
    rows = demo.interactions.sort("user_id", "timestamp").with_columns(
        item=pl.col("item_id").replace_strict(index), last=pl.col("item_id").shift(1).over("user_id")
    )
    rows = rows.drop_nulls("last").with_columns(last=pl.col("last").replace_strict(index))
    train, test = rows.filter(pl.col("timestamp") < end), rows.filter(pl.col("timestamp") >= end)
    assert test["user_id"].n_unique() >= 2_000
    assert 25_000 <= demo.interactions.height <= 31_000
    popular = np.bincount(train["item"], minlength=len(index)).astype(float)
    follows = np.zeros((len(index), len(index)))
    np.add.at(follows, (train["last"].to_numpy(), train["item"].to_numpy()), 1)
    target, last = test["item"].to_numpy(), test["last"].to_numpy()
    by_popularity = ndcg(np.tile(popular, (len(target), 1)), target)
    by_transitions = ndcg(follows[last] + 1e-6 * popular, target)
    best = demo.oracle.filter(pl.col("timestamp") >= end)["ndcg"].mean()
    assert by_transitions > 4 * by_popularity
    assert best > 1.5 * by_transitions


def ndcg(scores, target):
    own = scores[np.arange(len(target)), target][:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
    return np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean()


def test_oracle_is_reached_in_expectation_by_the_truth():
    """Ranking by the true chances gets what the oracle expects, within four standard errors."""
    params, end = MarketParams(**{**SMALL, "users": 900, "items": 200}), 20_454.0
    goods = make_goods(7, 160, end - 60 - USER_LIFE, end)
    people = make_people(params, 7, find_lives(params, end - 60, end))
    events = walk(params, 7, goods, people, end)
    events = events.take(np.flatnonzero(events.time >= end - 60))
    items = np.flatnonzero(goods.gone > end - 60)
    chance = chances(params, goods, people, events, items)
    assert np.allclose(chance.sum(axis=1), 1)
    expected = oracle(params, goods, people, events, end - 60)
    target = np.searchsorted(items, events.item)
    own = chance[np.arange(len(target)), target][:, None]
    rank = (chance > own).sum(axis=1)
    reached = np.where(rank < 10, 1 / np.log2(rank + 2), 0)
    assert abs((reached - expected).mean()) < 4 * (reached - expected).std() / np.sqrt(len(target))
    assert len(target) > 4_000


def test_new_items_appear_and_sell(demo):
    first = demo.interactions.group_by("item_id").agg(pl.col("timestamp").min())
    end = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
    assert first.filter(pl.col("timestamp") > end - 28 * 86_400).height >= 15


def test_the_smallest_market_stands():
    shop = small(users=2, items=10, days=10, events_per_user=3.0)
    assert shop.items.height >= 6
