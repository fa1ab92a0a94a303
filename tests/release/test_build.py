"""What the lineage of a package says of time: the first day that was not read, the first second after training."""

from __future__ import annotations

import polars as pl
import pytest

from rporec.release.build import first_unread_day, unseen_from

DAY = 86_400


def _events(times: list[int | None], split: str | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"timestamp": times, "split": [split] * len(times)}, schema={"timestamp": pl.Int64, "split": pl.String}
    )


def test_rows_of_their_own_time_line_end_where_training_ended():
    rows = [_events([3, 9]), _events([12]), _events([])]
    assert unseen_from(_events([20]), rows) == "13"


@pytest.mark.parametrize("times", [[None, None], [5, 7], []])
def test_a_given_split_tells_no_time(times: list[int | None]):
    assert unseen_from(_events(times or [1], "train"), [_events(times)]) == ""


def test_without_rows_nothing_was_trained_on():
    assert unseen_from(_events([20]), [_events([])]) == ""


@pytest.mark.parametrize(
    ("times", "as_of", "told"),
    [([DAY, 3 * DAY + 5], None, "1970-01-05"), ([DAY], "2011-09-01", "2011-09-01"), ([None], None, ""), ([], None, "")],
)
def test_the_first_day_that_was_not_read(times: list[int | None], as_of: str | None, told: str):
    assert first_unread_day(_events(times), as_of) == told
