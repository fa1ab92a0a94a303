"""Drift: the index by hand, own bins reused, warnings only beyond the threshold."""

import math

import polars as pl
import pytest

from rporec.data import drift
from tests.data import shop

TABLE = shop.timed_table(shop.steady(users=10, days=20))


def test_stability_index_by_hand():
    # (0.5 - 0.25) ln 2 + (0.5 - 0.75) ln(2 / 3) = 0.25 (ln 2 + ln 1.5) = 0.25 ln 3
    assert drift.stability_index([0.25, 0.75], [0.5, 0.5]) == pytest.approx(0.25 * math.log(3))
    assert drift.stability_index([0.5, 0.5], [0.5, 0.5]) == 0
    assert drift.stability_index([1.0, 0.0], [0.0, 1.0]) < math.inf


def test_shares_sum_to_one_and_bins_are_reused():
    older, newest = drift.halves(TABLE, 0.25)
    assert (older.height, newest.height) == (150, 50)
    assert older["order"].max() < newest["order"].min()
    before = drift.profile(older, shop.items())
    after = drift.profile(newest, shop.items(), before)
    for feature, found in before.items():
        assert sum(found["shares"]) == pytest.approx(1)
        assert sum(after[feature]["shares"]) == pytest.approx(1)
        assert after[feature]["edges"] == found["edges"]


def test_a_steady_shop_does_not_warn_and_a_changed_one_does():
    older, newest = drift.halves(TABLE, 0.25)
    before = drift.profile(older, shop.items())
    steady = drift.compare(before, drift.profile(newest, shop.items(), before), 0.2)
    assert [one.feature for one in steady if one.warned] == []
    dear = newest.with_columns(item_id=pl.lit("i5"))
    moved = {one.feature: one for one in drift.compare(before, drift.profile(dear, shop.items(), before), 0.2)}
    assert moved["price"].warned
    assert moved["item_popularity"].warned
    assert not moved["basket_size"].warned


def test_a_source_without_prices_has_no_price_profile():
    items = shop.items().with_columns(price=pl.lit(None, dtype=pl.Float64))
    assert "price" not in drift.profile(TABLE, items)
