"""Reasoning with something taken away or put in its place, for ablations. Nothing that serves reads any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rporec.catalogue import Catalogue
from rporec.reasoning.parse import Parsed
from rporec.reasoning.prompt import item_line
from rporec.rechead.reasoning import Told


def thought_only(told: Told) -> Told:
    """Empty the answers."""
    return _each(told, lambda one: replace(one, answer=""))


def answer_only(told: Told) -> Told:
    """Empty the thoughts."""
    return _each(told, lambda one: replace(one, thought=""))


def first_samples(told: Told, count: int) -> Told:
    """Keep the first `count` samples of each group."""
    return Told(told.examples, [samples[:count] for samples in told.samples])


def oracle_answer(told: Told, catalogue: Catalogue) -> Told:
    """Put the line of one true target, the first of each group, in the place of the answer: a leak by design.

    It is the ceiling of what a perfect writer could add; the thought stays that of the first well-formed sample.
    """
    first: dict[int, int] = {}
    for owner, target in zip(told.examples.owner, told.examples.targets, strict=True):
        first.setdefault(int(owner), int(target))
    thoughts = [next((one.thought for one in samples if one.well_formed), "") for samples in told.samples]
    answers = [item_line(first[place], catalogue) for place in range(len(thoughts))]
    pairs = zip(thoughts, answers, strict=True)
    return Told(told.examples, [[Parsed(thought, answer, well_formed=True, outside=0)] for thought, answer in pairs])


def _each(told: Told, change: Callable[[Parsed], Parsed]) -> Told:
    return Told(told.examples, [[change(one) for one in samples] for samples in told.samples])
