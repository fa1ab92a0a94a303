"""Is a thought true of the prompt? Brands, item words and numbers that it names are looked up in what was shown.

A word counts as named when the catalogue knows it as a brand, a category or a title word, when it holds a digit, or
when it is written as a name: a capital within a sentence. The words of our own phrasings and everyday English do not
count. What is named is checked, not what is said of it: neither the argument, nor which brand made which item, nor
which of the counts that are true of the history belongs to what.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rporec.catalogue import Catalogue
from rporec.reasoning.parse import neutralise
from rporec.reasoning.prompt import clip, item_line
from rporec.reasoning.words import EVERYDAY

_WORD = re.compile(r"[^\s,;:()|‹›]+")
_EDGES = ".!?'`*_\"[]{}–—-"
_DIGIT = re.compile(r"\d")

_SENTENCE = re.compile(r"(?<=[.!?]) ")
_COUNT = re.compile(r" \((\d+)\)$", re.MULTILINE)  # how often an item followed, at the end of its line
_OF_ALL = re.compile(r"\d of \d")
# A sentence of the history, unless it speaks of the evidence.
_HISTORY = frozenset(("customer", "chosen", "chose", "before", "already"))
_EVIDENCE = frozenset(("next", "like", "said", "known", "others"))

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grounding:
    """How much of what a thought names is in the history.

    Attributes:
        share: fraction of `named` found in history or evidence, in [0, 1]. Where nothing is named: 0.0, as what speaks
            of nothing is true of nothing; 1.0 if nothing was shown that could be named.
        named: brands, categories, item words, numbers and other names, each once, in order of appearance, lower case.
        missing: those of them that neither holds.
    """

    share: float
    named: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def true(self) -> int:
        """How many of `named` history or evidence hold."""
        return len(self.named) - len(self.missing)


class Grounder:
    """Checks thoughts against one catalogue; build it once, its word lists cover all N items."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._item_words = [frozenset(words_of(_item_text(item, catalogue))) for item in range(catalogue.n)]
        self._item_names = [_names_of(item, catalogue) for item in range(catalogue.n)]
        self._words: set[str] = (
            set().union(*(words_of(f"{title} {clip(title)}") for title in catalogue.titles)) - EVERYDAY
        )
        self._names = _by_first_word(set().union(*self._item_names))

    def check(self, thought: str, history: Sequence[int], evidence: str = "") -> Grounding:
        """Look up what a thought names.

        Args:
            thought: text as parsed.
            history: item indices that the writer was shown.
            evidence: what the prompt held beside the history, as text. It speaks for sentences that are not of the
                history, its counts only for "n times" in a sentence that names their item.
        """
        shown_words: set[str] = set().union(*(self._item_words[item] for item in history))
        shown_names: set[Words] = set().union(*(self._item_names[item] for item in history))
        counts = {str(count) for count in _true_counts(history, self._catalogue)}
        found: dict[str, bool] = {}
        words = words_of(thought)
        beside, proper = _beside(thought, evidence), _proper(thought)
        place = 0
        while place < len(words):
            name = self._name_at(words, place)
            word = words[place]
            if name:
                found[" ".join(name)] = name in shown_names or (shown_words | beside[place]).issuperset(name)
            elif _DIGIT.search(word):
                found[word] = word in shown_words or word in counts or word in beside[place]
            elif word in self._words or (proper[place] and word not in EVERYDAY):
                found[word] = word in shown_words or word in beside[place]
            place += len(name) or 1
        missing = tuple(name for name, true in found.items() if not true)
        nameable = not self._words.isdisjoint(shown_words)
        share = 1.0 - len(missing) / len(found) if found else float(not nameable)
        return Grounding(share=share, named=tuple(found), missing=missing)

    def _name_at(self, words: Sequence[str], place: int) -> Words:
        """Return the longest brand or category that starts at this word, () if none does."""
        for name in self._names.get(words[place], ()):
            if tuple(words[place : place + len(name)]) == name:
                return name
        return ()


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, punctuation at their edges removed."""
    return [word.casefold() for word in _written(text)]


def _written(text: str) -> list[str]:
    stripped = (word.strip(_EDGES) for word in _WORD.findall(neutralise(text)))
    return [word for word in stripped if word]


def _proper(thought: str) -> list[bool]:
    """Return, for each word of a thought, whether it is written as a name."""
    sentences = map(_written, _SENTENCE.split(neutralise(thought)))
    return [
        place > 0 and len(word) > 1 and word[0].isupper() for words in sentences for place, word in enumerate(words)
    ]


def _beside(thought: str, evidence: str) -> list[set[str]]:
    """Return, for each word of a thought, the words that the evidence lends to its place."""
    counted = [
        (one[1], set(words_of(line[: one.start()])) - EVERYDAY)
        for line in evidence.split("\n")
        if (one := _COUNT.search(line))
    ]
    found: list[set[str]] = []
    plain = set(words_of(_COUNT.sub("", evidence)))
    for sentence in _SENTENCE.split(neutralise(thought)):
        words = words_of(sentence)
        of_history = _OF_ALL.search(sentence) or (_HISTORY.intersection(words) and not _EVIDENCE.intersection(words))
        for place in range(len(words)):
            times = words[place + 1 : place + 2] == ["times"]
            own = {count for count, line in counted if times and line.intersection(words)}
            found.append(set() if of_history else own if times else plain)
    return found


def _item_text(item: int, catalogue: Catalogue) -> str:
    parts = (catalogue.titles, catalogue.brands, catalogue.categories)
    # The line as well: it holds the clipped words that the writer saw.
    return " ".join([*(texts[item] for texts in parts), item_line(item, catalogue)])


def _names_of(item: int, catalogue: Catalogue) -> frozenset[Words]:
    """Return brand and category as word tuples; a name of everyday words alone cannot be told from plain English."""
    names = (tuple(words_of(text)) for text in (catalogue.brands[item], catalogue.categories[item]))
    return frozenset(name for name in names if name and not EVERYDAY.issuperset(name))


def _by_first_word(names: set[Words]) -> dict[str, list[Words]]:
    table: dict[str, list[Words]] = {}
    for name in sorted(names, key=lambda name: (-len(name), name)):
        table.setdefault(name[0], []).append(name)
    return table


def _true_counts(history: Sequence[int], catalogue: Catalogue) -> set[int]:
    """Return every count that a thought may rightly state: of all items, and of items that share something."""
    counts = {len(history)}
    for key in (catalogue.brand, catalogue.category, catalogue.price_band, int):
        counts.update(Counter(key(item) for item in history).values())
    return counts
