"""Copying drills: training events told once more of a catalogue whose names were dealt anew.

A small model recalls an item's name instead of looking it up, and names another item where the name is rare. In a drill
every brand carries another brand's name and every title another item's words, so that only the prompt can tell them;
who shares a brand, a category or a price stays true. Only the thought is learned: the answer of a drill is nobody's
next item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rporec.backbone.examples import Event, prepare
from rporec.backbone.finetune import Example
from rporec.backbone.randomness import keyed, uniforms
from rporec.backbone.source import Writer
from rporec.catalogue import Catalogue
from rporec.reasoning.compose import Source
from rporec.reasoning.parse import THINK_CLOSE

_DEALS = 16  # catalogues dealt: one name must not settle on one item again


def make_drills(
    events: Sequence[Event], source: Source, writer: Writer, max_prompt_tokens: int, share: float, seed: int
) -> list[Example]:
    """Return the drills of a share of the events, one a target.

    Args:
        events: what is learned from.
        source: texts and counts.
        writer: its tokenizer and chat template are used.
        max_prompt_tokens: budget of a prompt (tokens).
        share: of the events, in [0, 1].
        seed: of the choice and of the deals.
    """
    groups = np.array([event.group for event in events], dtype=np.int64)
    chosen = np.flatnonzero(uniforms(seed, groups) < share)
    deals = (keyed(seed + 1, groups) % np.uint64(_DEALS)).astype(np.int64)
    examples: list[Example] = []
    for deal in np.unique(deals[chosen]).tolist():
        own = [events[place] for place in chosen[deals[chosen] == deal].tolist()]
        dealt = Source(deal_names(source.catalogue, seed + deal), source.follows)
        prepared = prepare(own, dealt, writer, max_prompt_tokens)
        thoughts = [text[: text.index(THINK_CLOSE) + len(THINK_CLOSE)] for text in prepared.texts]
        ids = writer.tokenizer(thoughts, add_special_tokens=False)["input_ids"] if thoughts else []
        examples += [replace(one, completion_ids=own) for one, own in zip(prepared.examples, ids, strict=True)]
    return examples


def deal_names(catalogue: Catalogue, seed: int) -> Catalogue:
    """Return the catalogue with each brand under another brand's name and each title with another item's words."""
    generator = np.random.default_rng(seed)
    brands = sorted(set(catalogue.brands) - {""})
    named = dict(zip(brands, (brands[place] for place in generator.permutation(len(brands))), strict=True))
    titles = [" ".join(catalogue.title_terms(item)) for item in generator.permutation(catalogue.n).tolist()]
    return replace(catalogue, titles=titles, brands=[named.get(brand, "") for brand in catalogue.brands])
