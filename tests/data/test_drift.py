"""Drift: the index by hand, windows of days, own bins reused, warnings only beyond threshold and chance."""

import json
import math

import polars as pl
import pytest

from rporec.data import drift, profiles
from tests.data import shop

DAYS = 40
END = shop.START + DAYS * shop.DAY
TABLE = shop.timed_table(shop.steady(users=10, days=DAYS))
ITEMS = shop.items()


def moved(tonight, end=END, reference=None, items=ITEMS, **limits):
    """Feature → Drift of the newest week beside a reference, or the week before."""
    window = drift.newest(tonight, end, 7)
    if reference is None:
        reference = drift.profile(drift.before(window), items)
    found = drift.compare(
        reference, drift.profile(window, items, reference), **{"psi_limit": 0.2, "volume_limit": 0.5, **limits}
    )
    return {one.feature: one for one in found}


def test_stability_index_by_hand():
    # (0.5 - 0.25) ln 2 + (0.5 - 0.75) ln(2 / 3) = 0.25 (ln 2 + ln 1.5) = 0.25 ln 3
    assert drift.stability_index([0.25, 0.75], [0.5, 0.5]) == pytest.approx(0.25 * math.log(3))
    assert drift.stability_index([0.5, 0.5], [0.5, 0.5]) == 0
    assert drift.stability_index([1.0, 0.0], [0.0, 1.0]) < math.inf


def test_chance_is_what_equal_samples_differ_by():
    # 99 % of a chi-square of 9 degrees of freedom lie below 21.67, of 1 below 6.63
    assert drift.chance_index(10, 100, 100) == pytest.approx(21.67 / 50, rel=0.01)
    assert drift.chance_index(2, 100, 100) == pytest.approx(6.63 / 50, rel=0.03)


def test_windows_are_whole_days_before_the_end():
    window = drift.newest(TABLE, END, 7)
    assert window.rows.height == 70
    assert window.rows["timestamp"].min() >= END - 7 * shop.DAY > window.older["timestamp"].max()
    earlier = drift.before(window)
    assert (earlier.rows.height, earlier.older.height, earlier.end) == (70, 260, END - 7 * shop.DAY)
    assert drift.before(drift.newest(TABLE, shop.START + 13 * shop.DAY, 7)) is None, "the rows begin too late"


def test_rows_without_times_have_their_newest_quarter():
    given = shop.given_table(shop.SPLIT)
    window = drift.newest(given, None, 7)
    assert window.rows["order"].to_list() == [7, 8, 9]
    assert drift.before(window).rows["order"].to_list() == [4, 5, 6]
    found = drift.profile(window, ITEMS)
    assert "history_length" in found.features
    assert found.features["new_users"].shares == [1.0, 0.0]
    assert found.features["new_items"].shares == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert drift.silent_days(window) == []


def test_shares_sum_to_one_and_bins_are_reused():
    window = drift.newest(TABLE, END, 7)
    reference = drift.profile(drift.before(window), ITEMS)
    tonight = drift.profile(window, ITEMS, reference)
    assert set(reference.features) == {
        "item_popularity", "new_users", "new_items", "price", "title_length", "description_length", "basket_size",
    }  # fmt: skip
    for name, feature in reference.features.items():
        assert sum(feature.shares) == pytest.approx(1)
        assert sum(tonight.features[name].shares) == pytest.approx(1)
        assert tonight.features[name].edges == feature.edges
    assert (reference.rows, reference.days) == (70, 7)


def test_a_steady_shop_does_not_warn():
    assert [one.message for one in moved(TABLE).values() if one.warned] == []


def test_each_kind_of_drift_is_named():
    last = pl.col("timestamp") >= END - 7 * shop.DAY
    dear = moved(TABLE.with_columns(item_id=pl.when(last).then(pl.lit("i5")).otherwise("item_id")))
    assert {name for name, one in dear.items() if one.warned} == {"price", "item_popularity"}
    assert "price: population-stability index" in dear["price"].message
    fresh = moved(TABLE.with_columns(user_id=pl.when(last).then(pl.lit("n") + pl.col("user_id")).otherwise("user_id")))
    assert {name for name, one in fresh.items() if one.warned} == {"new_users"}
    assert "share of rows 100.0%, earlier 0.0%" in fresh["new_users"].message
    wordy = ITEMS.with_columns(title=pl.lit("a title that is far longer"))
    before = drift.profile(drift.before(drift.newest(TABLE, END, 7)), ITEMS)
    assert moved(TABLE, reference=before, items=wordy)["title_length"].warned
    unpriced = moved(TABLE, reference=before, items=ITEMS.with_columns(price=pl.lit(None, dtype=pl.Float64)))
    assert unpriced["price"].message == "price: no row has a value, earlier ones had"


def test_new_rows_are_compared_as_two_bins():
    last = pl.col("timestamp") >= END - 7 * shop.DAY
    half = TABLE.with_columns(user_id=pl.when(last & (pl.col("user_id") < "u5")).then(pl.lit("n")).otherwise("user_id"))
    least = 1e-4
    by_hand = (0.5 - least) * math.log(0.5 / least) + (0.5 - 1) * math.log(0.5)
    assert moved(half)["new_users"].psi == pytest.approx(by_hand, rel=1e-4)


def test_volume_is_a_ratio_of_rows_a_day():
    thin = TABLE.filter((pl.col("timestamp") < END - 7 * shop.DAY) | (pl.col("user_id") < "u5"))
    found = moved(thin)["volume"]
    assert found.ln_ratio == pytest.approx(math.log(0.5), abs=1e-6)
    assert found.warned
    assert "5 rows a day, earlier 10" in found.message
    assert not moved(thin, volume_limit=0.7)["volume"].warned


def test_a_feed_that_stopped_is_named_by_day():
    def without(*days):
        gone = [(shop.START + day * shop.DAY) // shop.DAY for day in days]
        return drift.newest(TABLE.filter(~(pl.col("timestamp") // shop.DAY).is_in(gone)), END, 7)

    assert drift.silence(without()) == ""
    assert drift.silent_days(without(35, 39, 3)) == ["2023-12-20", "2023-12-24"]
    assert drift.silence(without(35)) == "no interactions on 2023-12-20: did the feed stop?"
    assert drift.silence(without(39)) == "no interactions on 2023-12-24 (the newest day): did the feed stop?"
    assert drift.silence(without(35, 28, 21)) == "", "closed on that weekday"
    assert drift.silence(without(35, 28)) != ""
    stopped = TABLE.filter(pl.col("timestamp") < END - 7 * shop.DAY)
    reference = drift.profile(drift.before(drift.newest(TABLE, END, 7)), ITEMS)
    found = moved(stopped, reference=reference)
    assert found["volume"].warned
    assert list(found) == ["volume"]
    assert "and 13 more" in drift.silence(drift.newest(stopped, END + 13 * shop.DAY, 20))


def test_few_rows_do_not_cry_wolf():
    reference = profiles.Profile(END, 7, 10, {"price": profiles.Feature([1.0], [0.5, 0.5])})
    tonight = profiles.Profile(END, 7, 10, {"price": profiles.Feature([1.0], [0.2, 0.8])})
    assert not drift.compare(reference, tonight, 0.2, 0.5)[0].warned, "chance alone does that with ten rows"
    many = [profiles.Profile(END, 7, 1000, one.features) for one in (reference, tonight)]
    assert drift.compare(*many, 0.2, 0.5)[0].warned


def test_a_source_without_prices_has_no_price_profile():
    items = ITEMS.with_columns(price=pl.lit(None, dtype=pl.Float64))
    assert "price" not in drift.profile(drift.newest(TABLE, END, 7), items).features


def test_a_profile_is_stored_and_read_again():
    found = drift.profile(drift.newest(TABLE, END, 7), ITEMS)
    assert profiles.parse(json.loads(json.dumps(found.as_json()))) == found


@pytest.mark.parametrize(
    "damage",
    [
        [], {}, {"rows": 1}, {"rows": -1}, {"rows": True}, {"end": "x"}, {"days": None}, {"days": 0}, {"features": []},
        {"features": {"price": {"edges": [1.0]}}}, {"features": {"price": {"edges": [1.0], "shares": [1.0]}}},
        {"features": {"price": {"edges": [2.0, 1.0], "shares": [0.5, 0.25, 0.25]}}},
        {"features": {"price": {"edges": [1.0], "shares": [0.5, 0.6]}}},
        {"features": {"price": {"edges": [float("nan")], "shares": [0.5, 0.5]}}},
    ],
)  # fmt: skip
def test_a_damaged_profile_is_told(damage):
    good = {"end": END, "days": 7, "rows": 70, "features": {}}
    assert profiles.parse(good).rows == 70
    raw = {**good, **damage} if damage and damage != {"rows": 1} else damage
    with pytest.raises(ValueError, match=r"\w"):
        profiles.parse(raw)
