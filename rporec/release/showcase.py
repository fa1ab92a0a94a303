"""A recommendation as text a person reads: the history, the reasoning, the ranked items, and what really came next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from rporec.catalogue import Catalogue
from rporec.reasoning.ground import Grounder
from rporec.reasoning.prompt import split_prompt
from rporec.recommender import Recommendation, Recommender
from rporec.release import registry
from rporec.release.place import Place

_LEAST_HISTORY = 3
_TITLE_LENGTH = 80


@dataclass(frozen=True)
class Example:
    """A test user: id, history of item indices (oldest first), the item that came next."""

    user_id: str
    history: list[int]
    target: int


def example_user(rows: pl.DataFrame) -> Example | None:
    """Return the first test row whose history is long enough to tell something, else the first; None without rows."""
    told = rows.filter(pl.col("history").list.len() >= _LEAST_HISTORY)
    first = (told if told.height else rows).head(1)
    if first.is_empty():
        return None
    return Example(first["user_id"][0], first["history"].to_list()[0], first["target"][0])


def ask(place: Place, model: str, rows: pl.DataFrame, k: int, threads: int) -> str | None:
    """Load the champion back from the registry, as the service does, and return its answer for one test user as text.

    Args:
        place: the registry.
        model: the registered name.
        rows: the test rows (ROWS), of the champion's own catalogue.
        k: items wanted.
        threads: CPU threads.
    """
    found, example = registry.champion_package(place, model), example_user(rows)
    if found is None or example is None:
        return None
    version, folder = found
    recommender = Recommender.load(folder, threads=threads)
    ids = [recommender.catalogue.item_ids[item] for item in example.history]
    evidence = split_prompt(recommender.prompts([example.history])[0])[1]
    text = render(example, recommender.recommend(ids, k), recommender.catalogue, evidence)
    return f"Champion: version {version.number} of {version.model}\n{text}\n"


def render(example: Example, found: Recommendation, catalogue: Catalogue, evidence: str = "") -> str:
    """Return the recommendation as lines of text.

    Args:
        example: whom it is for.
        found: the recommendation.
        catalogue: texts of the items.
        evidence: what the prompt held beside the history, as text.
    """
    target = catalogue.item_ids[example.target]
    lines = [f"Recommendations for user {example.user_id} (a test user), who bought, oldest first:"]
    lines += [f"  - {_title(catalogue.titles[item])}" for item in example.history]
    if found.reasoning_source == "live":
        lines += ["Reasoning, written now:", f"  thought: {found.thought}", f"  answer:  {found.answer}"]
        missing = Grounder(catalogue).check(found.thought, example.history, evidence).missing
        lines += (
            [f"  the thought names what neither history nor evidence holds: {', '.join(missing)}"] if missing else []
        )
    else:
        lines.append("Reasoning: none (the writer broke its format); ranked from the history alone.")
    lines.append("Ranking (probability to come next):")
    lines += _ranking(found, target)
    place = next((number for number, item in enumerate(found.items, 1) if item.item_id == target), None)
    told = f"number {place} above" if place else "not among these"
    return "\n".join([*lines, f"What the user really took next: {_title(catalogue.titles[example.target])} ({told})"])


def _ranking(found: Recommendation, target: str) -> Sequence[str]:
    mark = {target: " <- taken"}
    return [
        f"  {number}. {item.score:7.2%}  {_title(item.title)}  [{item.item_id}]{mark.get(item.item_id, '')}"
        for number, item in enumerate(found.items, start=1)
    ]


def _title(text: str) -> str:
    return (text if len(text) <= _TITLE_LENGTH else f"{text[: _TITLE_LENGTH - 1]}…") or "(no title)"
