"""The anchor: the oldest champion that no later one was shown to beat, within its nights."""

from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.evaluation.anchor import Judgement, anchor_of, judgements, note


def line(*better: bool, days: int = 1) -> list[Judgement]:
    """Champions p0, p1, ... of one line, `days` apart; whether each was shown to beat its anchor."""
    return [
        Judgement("m", f"p{n}", f"p{n - 1}" if n else "", f"2026-01-{1 + n * days:02d}", shown)
        for n, shown in enumerate(better)
    ]


def test_without_any_shown_better_it_is_the_oldest() -> None:
    assert anchor_of(line(False, False, False, False), "p3", "2026-01-05", 365) == "p0"


def test_one_shown_better_takes_its_place() -> None:
    assert anchor_of(line(False, True, False, False), "p3", "2026-01-05", 365) == "p1"
    assert anchor_of(line(False, False, False, True), "p3", "2026-01-05", 365) == "p3"


@pytest.mark.parametrize(("nights", "anchor"), [(30, "p0"), (25, "p1"), (10, "p3"), (1, "p3")])
def test_champions_older_than_the_nights_fall_out(nights: int, anchor: str) -> None:
    """Data up to the 1st, 9th, 17th and 25th; tonight's up to the 29th."""
    assert anchor_of(line(False, False, False, False, days=8), "p3", "2026-01-29", nights) == anchor


def test_data_without_dates_never_fall_out() -> None:
    rows = [Judgement("m", "a", "", "", better=False), Judgement("m", "b", "a", "", better=False)]
    assert anchor_of(rows, "b", "2026-01-29", 1) == "a"


def test_after_a_rollback_the_older_champions_own_line_counts() -> None:
    assert anchor_of(line(False, False, True, False), "p1", "2026-01-05", 365) == "p0"


def test_a_champion_that_nothing_was_written_of_is_its_own_anchor_and_a_circle_ends() -> None:
    assert anchor_of([], "x", "2026-01-05", 365) == "x"
    rows = [Judgement("m", "a", "b", "", better=False), Judgement("m", "b", "a", "", better=False)]
    assert anchor_of(rows, "a", "", 365) == "b"


def test_a_judgement_is_written_once_and_the_last_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    first, second = line(False, False)
    for row in (first, first, second, Judgement("other", "p0", "", "", better=True), first):
        note(path, row)
    assert judgements(path, "m") == [first, second]
    again = Judgement("m", "p1", "p0", "2026-01-02", better=True)
    note(path, again)
    assert anchor_of(judgements(path, "m"), "p1", "2026-01-03", 365) == "p1"


def test_a_broken_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    path.write_text("no\n")
    with pytest.raises(InputError, match="file of judgements"):
        judgements(path, "m")
