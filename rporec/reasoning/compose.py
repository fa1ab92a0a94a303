"""Composed reasoning: texts that teach the embedded backbone to write, from what prompt and history really hold.

The target is used for the answer and to choose which evidence to name, never as evidence: it is named in a thought only
where the prompt names it. A composed thought is
material for fine-tuning only: it must never be read by the Rechead (design section 6).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rporec.catalogue import Catalogue
from rporec.reasoning.evidence import FollowCounts
from rporec.reasoning.prompt import DESCRIBED, FOLLOWED, NEIGHBOURS, Fact, clip, item_line

_NAME_TERMS = 3
_HABIT = 2  # fewer events elsewhere are no habit
_BY_COUNTS = ("followed", "last")  # kinds that rest on counts, not on what the history shares with the target


@dataclass(frozen=True, slots=True)
class Composed:
    """A thought and an answer to be learned."""

    thought: str
    answer: str


# Several phrasings a kind of evidence, so that the backbone learns what is said and not one fixed string. Their own
# words are all everyday words (`rporec.reasoning.words`), so that only the parts filled in count as naming something.
PHRASES: dict[str, tuple[str, ...]] = {
    "repeat": (
        "{name} was bought before and may be bought again.",
        "This customer has {name} already and may need it again.",
        "{name} could be bought once more.",
    ),
    "brand_many": (
        "{brand} comes back in {n} of {all} items, last with {name}.",
        "{n} of {all} items are from {brand}, like {name}.",
        "This customer keeps to {brand}, {n} of {all} items, such as {name}.",
    ),
    "brand_once": (
        "{brand} was chosen for {name}.",
        "{name} is from {brand}, which may be chosen again.",
        "With {name} this customer turned to {brand}.",
    ),
    "category_many": (
        "{n} of {all} items are {category}, last {name}.",
        "{category} comes back in {n} of {all} items, like {name}.",
    ),
    "category_once": (
        "{name} shows an interest in {category}.",
        "{category} was looked at with {name}.",
    ),
    "followed": (
        "Others who bought {name} went on to what is named next.",
        "After {name} others bought what is named next.",
    ),
    "last": (
        "The last item is {name}, so something new may come next.",
        "After {name} the next choice is open.",
        "Most recent is {name}; the next may be different.",
    ),
    "price": (
        "{n} of {all} items have a {band} price.",
        "The price is {band} in {n} of {all} items.",
    ),
    "same_brand": (
        "After {name} people mostly stay with {brand}.",
        "Buyers of {name} tend to stay with {brand}.",
    ),
    "other_brand": (
        "After {name} people mostly turn from {brand} to others.",
        "Buyers of {name} tend to go from {brand} to others.",
    ),
    "it_same_brand": ("Its buyers mostly stay with {brand}.", "Who buys it tends to stay with {brand}."),
    "it_other_brand": (
        "Its buyers mostly turn from {brand} to others.",
        "Who buys it tends to go from {brand} to others.",
    ),
    # Of evidence in the prompt.
    "cited_first": (
        "{name} came next {times} times, more than others.",
        "Most often {name} came next, {times} times.",
    ),
    "cited": (
        "{name} came next {times} times.",
        "Among what often came next is {name}, {times} times.",
    ),
    "cited_once": ("{name} came next once.", "Once {name} came next."),
    "cited_like": ("{name} is much like the last item.", "Like the last item is {name}."),
    "cited_brand": ("Items of {brand} often came next.", "What often came next is also from {brand}."),
    "cited_category": ("What often came next is also {category}.", "Often {category} came next."),
    "cited_word": ("It is said of the last item: {word}.", "The last item is known for {word}."),
    "nothing": ("There is no history yet, so something popular is likely.",),
}


class Source:
    """What composing draws on: the texts of the catalogue and the counts of the fit slice.

    Attributes:
        catalogue: texts of N items.
        follows: what followed what in the fit slice.
        lines: each item as a line, N.
        names: a short name of each item, N.
    """

    def __init__(self, catalogue: Catalogue, follows: FollowCounts) -> None:
        self.catalogue, self.follows = catalogue, follows
        self.lines = [item_line(item, catalogue) for item in range(catalogue.n)]
        self.names = [item_name(item, catalogue) for item in range(catalogue.n)]


def compose(
    history: Sequence[int],
    target: int,
    source: Source,
    seed: int,
    event: Sequence[int] = (),
    facts: Sequence[Fact] = (),
) -> Composed:
    """Compose the thought and answer of one training row.

    Args:
        history: item indices as shown in the prompt, oldest first.
        target: the true next item.
        source: texts and counts; the row's own event may be among the counts, it is taken out.
        seed: chooses the phrasings; derive it from the run's seed and the row.
        event: all targets of the row's event (its basket), none of which is evidence for another; () means the
            target alone.
        facts: evidence as shown in the prompt.
    """
    answer = source.lines[target]
    chooser = random.Random(seed)
    if not history:
        return Composed(thought=_say(chooser, "nothing"), answer=answer)
    asked = _Asked(list(history), target, source, tuple(event) or (target,))
    anchor, kind = asked.anchor()
    cited = _cite(chooser, facts, asked)
    if cited and kind in _BY_COUNTS:  # the prompt has said that better
        sentences = [cited, _second_sentence(chooser, kind, anchor, asked)]
    elif cited:
        sentences = [cited, _main_sentence(chooser, kind, anchor, asked)]
    else:
        sentences = [_main_sentence(chooser, kind, anchor, asked), _second_sentence(chooser, kind, anchor, asked)]
    return Composed(thought=" ".join(filter(None, sentences)), answer=answer)


def item_name(item: int, catalogue: Catalogue) -> str:
    """Return a short name of an item: its first telling title words, else its brand or category."""
    terms = " ".join(catalogue.title_terms(item)[:_NAME_TERMS])
    return clip(terms or catalogue.brand(item) or catalogue.category(item)) or "an item"


@dataclass(frozen=True, slots=True)
class _Asked:
    """One row with what may be said about it."""

    history: list[int]
    target: int
    source: Source
    event: tuple[int, ...]

    def anchor(self) -> tuple[int, str]:
        """Return the item of the history that speaks most for the target, and how it does."""
        if self.target in self.history:
            return self.target, "repeat"
        for text, kind in ((self.source.catalogue.brand, "brand"), (self.source.catalogue.category, "category")):
            sharing = self.sharing(text, text(self.target))
            if sharing:
                return sharing[-1], f"{kind}_many" if len(sharing) > 1 else f"{kind}_once"
        for item in reversed(self.history):
            if self.target in self.source.follows.after(item, self.event):
                return item, "followed"
        return self.history[-1], "last"

    def sharing(self, text: Callable[[int], str], wanted: str) -> list[int]:
        """Return the items of the history with this brand, category or band; [] for an unknown one."""
        return [item for item in self.history if wanted and text(item) == wanted]


def _cite(chooser: random.Random, facts: Sequence[Fact], asked: _Asked) -> str:
    """Return what the evidence in the prompt says for the target, else ""."""
    source, target = asked.source, asked.target
    line, name = source.lines[target], source.names[target]
    followed, near = ([fact for fact in facts if fact.heading == heading] for heading in (FOLLOWED, NEIGHBOURS))
    for place, fact in enumerate(followed):
        if _line_of(fact, source) == line:
            first = place == 0 and all(other.times < fact.times for other in followed[1:])
            kind = "cited_once" if fact.times == 1 else "cited_first" if first else "cited"
            return _say(chooser, kind, name=name, times=fact.times)
    if any(_line_of(fact, source) == line for fact in near):
        return _say(chooser, "cited_like", name=name)
    for kind, text in (("brand", source.catalogue.brand), ("category", source.catalogue.category)):
        if text(target) and any(text(fact.item) == text(target) for fact in followed if fact.item is not None):
            return _say(chooser, f"cited_{kind}", **{kind: clip(text(target))})
    words = {word.casefold() for word in line.replace(";", " ").split()}
    said = [word for fact in facts if fact.heading == DESCRIBED for word in fact.text.split()]
    shared = [word for word in said if word.casefold() in words]
    return _say(chooser, "cited_word", word=shared[0]) if shared else ""


def _line_of(fact: Fact, source: Source) -> str:
    return "" if fact.item is None else source.lines[fact.item]


def _main_sentence(chooser: random.Random, kind: str, anchor: int, asked: _Asked) -> str:
    catalogue = asked.source.catalogue
    text = catalogue.category if kind.startswith("category") else catalogue.brand
    return _say(
        chooser,
        kind,
        name=asked.source.names[anchor],
        brand=clip(catalogue.brand(anchor)),
        category=clip(catalogue.category(anchor)),
        n=len(asked.sharing(text, text(anchor))),
        all=len(asked.history),
    )


def _second_sentence(chooser: random.Random, kind: str, anchor: int, asked: _Asked) -> str:
    """Return a price or follower sentence where one is true and adds something, else ""."""
    catalogue = asked.source.catalogue
    band = catalogue.price_band(asked.target)
    sharing = asked.sharing(catalogue.price_band, band)
    if len(sharing) > 1:
        return _say(chooser, "price", n=len(sharing), all=len(asked.history), band=band)
    last = asked.history[-1]
    brand = catalogue.brand(last)
    following = asked.source.follows.after(last, asked.event)
    weight = sum(following.values())
    if not brand or kind.startswith("brand") or weight < _HABIT:
        return ""
    same = sum(count for item, count in following.items() if catalogue.brand(item) == brand)
    habit = "same_brand" if 2 * same > weight else "other_brand"
    return _say(chooser, f"it_{habit}" if anchor == last else habit, name=asked.source.names[last], brand=clip(brand))


def _say(chooser: random.Random, kind: str, **parts: object) -> str:
    return chooser.choice(PHRASES[kind]).format(**parts)
