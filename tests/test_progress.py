"""Progress: what an earlier process did counts as done, and never as speed."""

import io
import sys

import pytest

from rporec import progress
from rporec.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(caplog, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # no terminal
    caplog.set_level("INFO", "rporec.progress")
    return lambda: [record.getMessage().strip() for record in caplog.records]


def test_rate_and_time_left_are_those_of_all_work_so_far(clock, lines):
    with Progress("write", 100, "groups") as shown:
        clock[0] += 20
        shown.advance(40, "loss 1.5")
    assert lines() == ["write: 40/100 groups, 2.0 a second, 30 s left loss 1.5"]


def test_what_an_earlier_process_did_is_no_speed_of_this_one(clock, lines):
    with Progress("write", 1000, "groups") as shown:
        shown.skip(900)
        clock[0] += 20
        shown.advance(10)
        clock[0] += 20
        shown.skip(30)
        shown.advance(10)
    assert lines() == [
        "write: 910/1000 groups, 0.5 a second, 180 s left",
        "write: 950/1000 groups, 0.5 a second, 100 s left",
    ]


def test_a_log_gets_a_line_every_ten_seconds_at_most(clock, lines):
    with Progress("write", 100, "groups") as shown:
        for _ in range(25):
            clock[0] += 1
            shown.advance(1)
    assert [line.split(",")[0] for line in lines()] == ["write: 10/100 groups", "write: 20/100 groups"]


def test_the_bar_of_a_terminal_leaves_earlier_work_out_of_its_rate(monkeypatch, lines):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("write", 1000, "groups") as shown:
        shown.skip(900)
        shown.advance(10, "loss 1.5")
        told = shown._bar.format_dict
    assert (told["initial"], told["n"], told["total"]) == (900, 910, 1000)
    assert "910/1000" in sys.stderr.getvalue() or "900/1000" in sys.stderr.getvalue()
    assert lines() == []
