from __future__ import annotations

import re

import polars as pl
import pytest

from infra import overlay
from infra.replay import chart, report
from infra.replay.score import METRICS, RANKERS, SCORED, means
from rporec import tables
from rporec.config import EvaluateParams
from tests.project import ROOT


@pytest.fixture(scope="module")
def params() -> EvaluateParams:
    return overlay.merge(ROOT, "tiny", "", None)[1].evaluate


def _scored(users: int, **above: int | None) -> pl.DataFrame:
    """One row a user; `above` items stand above each ranker's target (0 where not named)."""
    counts = {f"{name}_above": above.get(name, 0) for name in RANKERS}
    ties = {f"{name}_ties": None if above.get(name, 0) is None else 0 for name in RANKERS}
    row = {"timestamp": 1, "item_id": "i", "history_length": 1, "item_new": False, **counts, **ties}
    return pl.DataFrame([{"user_id": f"u{user}", **row} for user in range(users)], schema=SCORED.columns)


def _night(date: str, scored: pl.DataFrame, *, promoted: bool = True) -> dict[str, object]:
    return {
        "date": date, "rows": scored.height, "users": scored.height, **means(scored), "promoted": promoted,
        "version": 1, "start": "warm", "minutes": 2.0, "cpu_minutes": 3.0, "bytes": 5_000_000,
        "reason": "told why",
    }  # fmt: skip


def test_the_champion_is_compared_on_the_rows_that_all_ranked(params: EvaluateParams) -> None:
    early, late = _scored(5, champion=None, frozen=None), _scored(30, markov=2)
    scored = pl.concat([early, late])
    nights = [_night("2026-01-05", early), _night("2026-01-06", late)]
    every = report.build({"profile": "toy"}, nights, scored, params, 7)["all"]
    assert (every["rows"], every["users"], every["rows_left_out"]) == (30, 30, 5)
    assert every["ndcg@10"] == pytest.approx({"champion": 1.0, "frozen": 1.0, "markov": 0.5, "markov_all": 1.0})
    ahead = every["champion_minus_ndcg@10"]
    assert ahead["markov"]["difference"] == pytest.approx(0.5)
    assert ahead["frozen"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert set(ahead) == set(RANKERS[1:])


def test_a_replay_without_any_champion_can_be_told(params: EvaluateParams) -> None:
    scored = _scored(4, champion=None, frozen=None)
    built = report.build({}, [_night("2026-01-05", scored, promoted=False)], scored, params, 7)
    assert built["all"]["rows"] == 0
    assert built["all"]["ndcg@10"]["markov"] is None
    text = report.table(built)
    assert "- champion" not in text
    assert "2026-01-05: told why" in text


def test_the_table_has_a_row_a_night_and_one_for_all(params: EvaluateParams) -> None:
    full, none = _scored(3, champion=1), tables.empty(SCORED)
    nights = [_night("2026-01-05", full), _night("2026-01-06", none, promoted=False)]
    text = report.table(report.build({}, nights, full, params, 7))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] != "|--"]
    head, one, two, every = rows[0], rows[1], rows[2], rows[3]
    assert len({len(row) for row in rows[:4]}) == 1
    assert dict(zip(head, one, strict=True))["champion"] == "0.6309"
    assert [dict(zip(head, two, strict=True))[name] for name in RANKERS] == ["-"] * 4
    told = dict(zip(head, every, strict=True))
    assert (told["night"], told["promoted"], told["minutes"], told["MB"]) == ("all", "1", "4.0", "10")


def test_the_plot_breaks_where_there_were_no_sales_and_asks_for_nothing_outside() -> None:
    full, none = _scored(3), tables.empty(SCORED)
    nights = [_night(f"2026-01-0{day}", none if day == 3 else full, promoted=day != 4) for day in range(1, 6)]
    text = chart.draw("a <title>", nights, METRICS[0])
    lines = re.findall(r'<polyline points="([^"]+)"', text)
    assert [len(line.split()) for line in lines] == [2, 2] * len(RANKERS)
    assert "a &lt;title&gt;" in text
    assert not re.search(r"(href|src|url\(|<script)", text)
    assert text.count('fill="#fff" stroke') == 1, "the night that was not promoted"


def test_one_night_and_no_night_with_sales_can_be_drawn() -> None:
    assert "<polyline" in chart.draw("one", [_night("2026-01-01", _scored(1))], METRICS[0])
    assert "<polyline" not in chart.draw("none", [_night("2026-01-01", tables.empty(SCORED))], METRICS[0])
