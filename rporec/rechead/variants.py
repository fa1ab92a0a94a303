"""Reasoning with something taken away or put in its place, for ablations. Nothing that serves reads any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rporec.backbone.randomness import uniforms
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


def sometimes_right(told: Told, catalogue: Catalogue, share: float) -> Told:
    """Put the true answer, as `oracle_answer` does, in the place of the written one in some groups: a leak by design.

    It tells how much better than by now a writer would have to guess.

    Args:
        told: groups with reasoning.
        catalogue: N items.
        share: of the groups, in [0, 1], drawn by the group's number alone.
    """
    right = oracle_answer(told, catalogue).samples
    drawn = uniforms(0, np.asarray(told.examples.groups)) < share
    pairs = zip(drawn, right, told.samples, strict=True)
    return Told(told.examples, [true if hit else written for hit, true, written in pairs])


def _each(told: Told, change: Callable[[Parsed], Parsed]) -> Told:
    return Told(told.examples, [[change(one) for one in samples] for samples in told.samples])
