"""Shapes of data that must not cost more than their rows: one user with two million of them, one huge basket."""

import numpy as np
import polars as pl
import pytest

from rporec.data import leakage, sequences
from rporec.data.clean import clean
from tests.data import shop

N = 2_000_000


@pytest.mark.timeout(120)
def test_two_million_rows_of_one_user():
    days = 40
    at = shop.START + np.arange(N) * (days * shop.DAY) // N
    item = pl.Series(np.arange(N) % 6).cast(pl.String)
    bot = pl.DataFrame({"user_id": pl.repeat("bot", N, eager=True), "item_id": "i" + item, "timestamp": at})
    steady = shop.events(shop.steady(users=4, days=days))
    cleaned = clean(shop.raw(pl.concat([bot, steady])), shop.ingest_params(), shop.START * 2)
    repeated = N - bot.select(pl.struct(pl.all()).n_unique()).item()
    assert cleaned.counts["interactions"]["quarantined"] == ({"duplicate": repeated} if repeated else {})
    params = shop.sequence_params(history_length=20)
    found = sequences.build(cleaned.interactions, cleaned.items, params, cleaned.end)
    assert sum(part.height for part in found.parts().values()) + found.firsts == cleaned.interactions.height
    assert found.test["history"].list.len().max() == 20
    assert leakage.audit(found, cleaned.interactions, cleaned.items).passed


def test_one_basket_of_everything():
    n = 20_000
    rows = [("whale", f"i{k % 6}", 5) for k in range(6)] + [(f"u{k}", f"i{k % 6}", 5 + k / n) for k in range(n)]
    cleaned = clean(shop.raw([*shop.steady(), *rows]), shop.ingest_params(), shop.START * 2)
    found = sequences.build(cleaned.interactions, cleaned.items, shop.sequence_params(), cleaned.end)
    assert found.train.filter(pl.col("user_id") == "whale").is_empty()  # nothing of theirs is earlier
