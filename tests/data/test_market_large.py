"""The large market: the promises of the market, kept with few items looked at, and no oracle."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from rporec.config import MarketParams
from rporec.data import market_large
from rporec.data.market import simulate
from rporec.data.market_goods import make_goods
from rporec.data.market_shoppers import USER_LIFE, Events, find_lives, make_people, weigh
from rporec.data.market_stall import Tastes, lay_out, look, pull

AS_OF = dt.date(2026, 1, 1)
END = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
DAYS = 90
SMALL = {
    "users": 2_000, "items": 400, "days": DAYS, "events_per_user": 6.0,
    "text_signal": 1.0, "brand_loyalty": 1.0, "drift": 0.35, "looked_at": 6,
}  # fmt: skip


def shop(as_of=AS_OF, seed=7, **changes):
    return simulate(MarketParams(**{**SMALL, **changes}), as_of, seed)


@pytest.fixture(scope="module")
def base():
    return shop()


def test_same_seed_same_market_other_seed_another(base):
    again, other = shop(), shop(seed=8)
    assert base.interactions.equals(again.interactions)
    assert base.items.equals(again.items)
    assert not base.interactions.equals(other.interactions)


@pytest.mark.parametrize("days", [1, 40])
def test_a_later_date_adds_days_and_changes_none(base, days):
    later = shop(AS_OF + dt.timedelta(days=days))
    start = END - (DAYS - days) * 86_400
    shared = (pl.col("timestamp") >= start) & (pl.col("timestamp") < END)
    assert base.interactions.filter(shared).equals(later.interactions.filter(shared))
    assert base.interactions.filter(shared).height > 5_000
    assert later.interactions.filter(pl.col("timestamp") >= END).height > 50
    both = base.items.join(later.items, on="item_id", suffix="_later")
    assert both.filter(pl.col("description") != pl.col("description_later")).is_empty()


def test_rows_are_in_order_of_time_and_inside_the_period(base):
    times = base.interactions["timestamp"]
    assert times.is_sorted()
    assert times.min() >= END - DAYS * 86_400
    assert times.max() < END
    assert base.interactions.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    assert base.interactions.join(base.items, on="item_id", how="anti").is_empty()


def test_there_are_about_as_many_as_asked_for(base):
    wanted = SMALL["users"] * SMALL["events_per_user"]
    assert abs(base.interactions.height / wanted - 1) < 0.05
    assert abs(base.interactions["user_id"].n_unique() / SMALL["users"] - 1) < 0.08
    assert abs(base.items.height / SMALL["items"] - 1) < 0.02
    assert base.interactions["item_id"].n_unique() > 0.9 * SMALL["items"]


def test_the_oracle_is_not_known(base):
    known = shop(users=20, looked_at=None).oracle
    assert base.oracle.is_empty()
    assert base.oracle.schema == known.schema
    assert known.height > 50


def test_chunks_of_users_do_not_matter(base, monkeypatch):
    monkeypatch.setattr(market_large, "_CHUNK", 77)
    assert base.interactions.equals(shop().interactions)


def test_behaviour_is_that_of_the_whole_market():
    """Whole shelves looked at: shares of same types, brands and series are those of the walk, within 4 errors."""
    whole, large = shop(looked_at=None), shop(looked_at=1_000)
    for column, share, other in zip("tbs", follows(whole), follows(large), strict=True):
        error = np.sqrt(2 * share * (1 - share) / 9_000)
        assert abs(share - other) < 4 * error, column


def follows(shop):
    """Shares of purchases of the same type as the user's last, and within these of the same brand and series."""
    rows = shop.interactions.join(shop.items, on="item_id").sort("user_id", "timestamp")
    rows = rows.with_columns(series=pl.col("title").str.split(" ").list.slice(0, 2).list.join(" "))
    last = rows.with_columns(pl.col("category", "brand", "series").shift(1).over("user_id").name.suffix("_last"))
    last = last.drop_nulls("brand_last")
    same = [last[name] == last[f"{name}_last"] for name in ("category", "brand", "series")]
    return [same[0].mean(), (same[0] & same[1]).mean(), (same[0] & same[2]).mean()]


def test_looking_finds_different_items_of_the_type_that_are_on_sale_and_weighs_them_alike():
    params, end = MarketParams(**SMALL), 20_454.0
    goods = make_goods(7, 300, end - USER_LIFE, end)
    people = make_people(params, 7, find_lives(params, end - 60, end))
    n = 500
    key, who = np.arange(n), np.arange(n)
    kind, time = key % goods.n_types, end - 60 + 60 * (key + 0.5) / n
    stall = lay_out(goods, 9)
    seen = look(stall, kind, time, key.astype(np.uint64) * np.uint64(2**40 + 1), 8)
    assert seen.item.shape == (9, n)
    assert (np.diff(np.sort(seen.item, axis=0), axis=0) > 0).all()
    assert (goods.true.type[seen.item] == kind).all()
    assert ((goods.born[seen.item] <= time) & (time < goods.gone[seen.item])).all()
    assert np.allclose(seen.age, time - goods.born[seen.item], atol=1e-3)
    often = np.bincount(goods.slot[seen.item].ravel(), minlength=300)
    assert often.std() < 1.3 * np.sqrt(often.mean())
    recent = np.stack([seen.item[0], seen.item[1], *[np.full(n, -1)] * 3], axis=1)
    recent[::2] = -1
    pulled = pull(stall, params, Tastes.of(people, who, kind), seen, list(recent.T))
    weights = weigh(params, goods, people, Events(who, who, time, kind, recent), seen.item.T).T
    assert np.allclose(pulled, weights, rtol=1e-4)


def test_the_smallest_large_market_stands():
    tiny = shop(users=2, items=10, days=10, events_per_user=3.0, looked_at=2)
    assert tiny.items.height >= 6
    none = shop(users=2, items=10, days=10, events_per_user=0.001, looked_at=2)
    assert none.interactions.schema == tiny.interactions.schema
