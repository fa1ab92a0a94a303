from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rporec.recommender import Recommender
from rporec.release import showcase
from tests.release import world


@pytest.fixture(scope="module")
def served(workspace: Path) -> Recommender:
    return Recommender.load(workspace / "scratch/package")


def test_the_first_test_user_with_something_to_tell_is_asked() -> None:
    rows = world.rows("test", 12, 5, 0)
    example = showcase.example_user(rows)
    assert example is not None
    assert len(example.history) >= 3
    assert showcase.example_user(rows.clear()) is None


def test_a_thought_that_names_what_the_history_lacks_is_told(served: Recommender) -> None:
    example = showcase.Example("u", [0, 1, 2], 3)
    ids = [served.catalogue.item_ids[item] for item in example.history]
    found = served.recommend(ids, 3)
    titles = [served.catalogue.titles[item] for item in example.history]
    true = dataclasses.replace(found, reasoning_source="live", thought=f"After {titles[0]} more is likely.", answer="x")
    text = showcase.render(example, true, served.catalogue)
    assert all(title in text for title in titles)
    assert "nor evidence holds" not in text
    false = dataclasses.replace(true, thought="Mostly turns to Dyno.")
    assert "neither history nor evidence holds: dyno" in showcase.render(example, false, served.catalogue)


def test_a_broken_format_is_told(served: Recommender) -> None:
    found = dataclasses.replace(served.recommend([], 3), reasoning_source="none")
    assert "the writer broke its format" in showcase.render(showcase.Example("u", [], 3), found, served.catalogue)
