from __future__ import annotations

import polars as pl
import pytest

from rporec import config, tables
from rporec.days import DAY
from rporec.evaluation import nextday
from tests.project import ROOT

MONDAY = 20_000 * DAY
ITEMS = pl.DataFrame({"item_id": list("abcdef"), "title": list("abcdef")})


def _params(**changes: object) -> config.SequenceParams:
    return config.load(ROOT / "params.yaml").sequence.model_copy(update=changes)


def _sales(*lines: tuple[str, str, float]) -> pl.DataFrame:
    """Lines of (user, item, days after MONDAY) as the table INTERACTIONS; equal user and time are one basket."""
    times = [MONDAY + int(day * DAY) for _, _, day in lines]
    baskets = sorted({(time, user) for (user, _, _), time in zip(lines, times, strict=True)})
    return pl.DataFrame(
        {
            "user_id": [user for user, _, _ in lines],
            "item_id": [item for _, item, _ in lines],
            "timestamp": times,
            "order": [baskets.index((time, user)) for (user, _, _), time in zip(lines, times, strict=True)],
            "split": None,
            "history": None,
        },
        schema=tables.INTERACTIONS.columns,
    )


SALES = _sales(
    ("u", "a", -3), ("u", "b", -2), ("u", "c", 0.25), ("u", "d", 0.25), ("u", "e", 0.75), ("u", "f", 1),
    ("v", "c", -1), ("new", "a", 0.5), ("new", "b", 0.5), ("new", "c", 0.6), ("w", "a", -1),
)  # fmt: skip


def _told(rows: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Each row as (user, history, target), letters of the items."""
    letter = "abcdef".__getitem__
    return [
        (user, "".join(map(letter, history)), letter(target))
        for user, history, target in rows.select("user_id", "history", "target").iter_rows()
    ]


def test_lines_of_the_day_have_strictly_earlier_histories_and_a_basket_shares_one() -> None:
    rows = nextday.rows_of_day(SALES, ITEMS, _params(), MONDAY)
    tables.check(rows, tables.ROWS, "rows")
    told = _told(rows)
    assert {(user, history) for user, history, target in told if target in "cd" and user == "u"} == {("u", "ab")}
    late = next(history for user, history, target in told if (user, target) == ("u", "e"))
    assert sorted(late) == list("abcd")
    shared = rows.filter(pl.col("user_id") == "u", pl.col("timestamp") == MONDAY + DAY // 4)["group"]
    assert shared.n_unique() == 1
    assert len(shared) == 2
    assert rows["timestamp"].is_sorted()


def test_the_day_ends_and_who_did_not_buy_has_no_row() -> None:
    told = _told(nextday.rows_of_day(SALES, ITEMS, _params(), MONDAY))
    assert "f" not in {target for _, _, target in told}
    assert not {"v", "w"} & {user for user, _, _ in told}
    assert len(told) == 6


def test_a_first_basket_counts_with_an_empty_history() -> None:
    rows = nextday.rows_of_day(SALES, ITEMS, _params(), MONDAY).filter(pl.col("user_id") == "new")
    told = _told(rows)
    assert {(history, target) for _, history, target in told if not history} == {("", "a"), ("", "b")}
    assert [(sorted(history), target) for _, history, target in told if history] == [(["a", "b"], "c")]
    assert rows["group"].n_unique() == 2


@pytest.mark.parametrize("core", [1, 3])
def test_all_purchases_count_whatever_the_core(core: int) -> None:
    assert nextday.rows_of_day(SALES, ITEMS, _params(core=core), MONDAY).height == 6


def test_what_is_later_changes_nothing() -> None:
    later = _sales(("u", "f", 1), ("new", "f", 1.5), ("other", "a", 2))
    cut = SALES.filter(pl.col("timestamp") < MONDAY + DAY)
    more = pl.concat([cut, later.with_columns(order=pl.col("order") + 100)])
    day = nextday.rows_of_day(cut, ITEMS, _params(), MONDAY)
    assert day.equals(nextday.rows_of_day(more, ITEMS, _params(), MONDAY))


def test_a_day_without_sales_has_no_rows() -> None:
    rows = nextday.rows_of_day(SALES, ITEMS, _params(), MONDAY + 5 * DAY)
    assert rows.is_empty()
    tables.check(rows, tables.ROWS, "rows")


def test_training_rows_end_before_the_cut() -> None:
    rows = nextday.train_rows(SALES, ITEMS, _params(), MONDAY)
    assert _told(rows) == [("u", "a", "b")]
    assert set(_told(nextday.train_rows(SALES, ITEMS, _params(), MONDAY + 2 * DAY))) >= {("u", "a", "b")}
