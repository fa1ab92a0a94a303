"""Was the writer told the target? Its texts are searched for words that it could not have known.

A good writer guesses the target, so that naming it proves nothing. What counts is what nobody could reach from the
prompt and the training texts: **telling words** of an item that never occurred in a fit row (neither bought nor in a
history) are the words of its title, brand, category and line that no other item has and that are no everyday words; an
item without such a word has its name (brand and title terms, in their order) instead, where no other item has it. What
the prompt itself holds does not count.

A row is *named* when a text of its group holds one of its target's telling words. How often the texts of all groups
that did not buy this target name it is what chance and a liking for some word give; the difference is the **excess**.
It is near 0 for a writer that works from the history and near 1 for one that was told. A pretrained writer may know
what the fit rows do not, so a margin is let pass. Not a proof of innocence: hints by words that items share are not
seen.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binom

from rporec.catalogue import Catalogue
from rporec.errors import InputError
from rporec.reasoning.ground import words_of
from rporec.reasoning.prompt import item_line
from rporec.reasoning.words import EVERYDAY

Words = tuple[str, ...]

_SURE = 0.001  # chance of a false alarm: it would stop a night
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Text:
    """What was written for one group: its prompt, its completions as generated, and the targets of its rows."""

    prompt: str
    completions: Sequence[str]
    targets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Told:
    """What the check found.

    Attributes:
        rows: rows whose target has telling words and was not bought by all groups.
        named: share of them whose text names their own target, None without rows.
        by_chance: share expected of the text of a random group that did not buy the target, None without rows.
        told: whether `named` is beyond `by_chance` plus the margin, by an exact binomial test at .001.
        examples: up to three named targets, as the words that were found.
    """

    rows: int
    named: float | None
    by_chance: float | None
    told: bool
    examples: tuple[str, ...]

    @property
    def excess(self) -> float | None:
        """`named` minus `by_chance`."""
        return None if self.named is None or self.by_chance is None else self.named - self.by_chance


def telling_words(catalogue: Catalogue, learned: Iterable[int]) -> dict[int, frozenset[Words]]:
    """Return the telling words of each item that has some, each as a run of words that a text must hold.

    Args:
        catalogue: texts of N items.
        learned: items of the fit rows, as targets or in histories.
    """
    texts = [set(words_of(_text(item, catalogue))) for item in range(catalogue.n)]
    names = [tuple(words_of(catalogue.short_text(item))) for item in range(catalogue.n)]
    holders = Counter(word for words in texts for word in words)
    # A name within a longer one is no name: who writes of the other item has written both.
    namesakes = Counter(run for name in names for run in _runs(name, range(2, len(name) + 1)))
    found: dict[int, frozenset[Words]] = {}
    for item in sorted(set(range(catalogue.n)) - set(learned)):
        own: frozenset[Words] = frozenset((word,) for word in texts[item] - EVERYDAY if holders[word] == 1)
        name = names[item]
        if not own and len(set(name) - EVERYDAY) > 1 and namesakes[name] == 1:
            own = frozenset([name])
        if own:
            found[item] = own
    return found


def check(texts: Sequence[Text], telling: Mapping[int, frozenset[Words]], margin: float) -> Told:
    """Compare how often texts name their own target with how often the other groups' texts name it.

    Args:
        texts: one for each group.
        telling: as made by `telling_words`.
        margin: excess that is let pass (share of rows).
    """
    owners = {run: target for text in texts for target in text.targets for run in telling.get(target, ())}
    lengths = sorted({len(run) for run in owners})
    hits = [_hits(text, owners, lengths) for text in texts]
    asked = Counter(target for text in texts for target in set(text.targets))  # groups that bought it
    by_others = Counter(
        target for text, hit in zip(texts, hits, strict=True) for target in set(hit) - set(text.targets)
    )
    rows, named, by_chance = 0, 0, 0.0
    examples: list[str] = []
    for text, hit in zip(texts, hits, strict=True):
        for target in text.targets:
            others = len(texts) - asked[target]
            if target in telling and others:
                rows += 1
                named += target in hit
                by_chance += by_others[target] / others
                examples += [" ".join(hit[target])] if target in hit else []
    if not rows:
        return Told(0, None, None, told=False, examples=())
    chance = by_chance / rows
    # P(at least so many named), were the true share as high as is let pass.
    told = bool(binom.sf(named - 1, rows, min(1.0, chance + margin)) < _SURE)
    return Told(rows, named / rows, chance, told, tuple(dict.fromkeys(examples))[:_SHOWN])


def _hits(text: Text, owners: Mapping[Words, int], lengths: Sequence[int]) -> dict[int, Words]:
    """Return the targets, of any row, that the completions name and the prompt does not, with what names them."""
    written = set().union(*(_runs(words_of(completion), lengths) for completion in text.completions))
    found = written - _runs(words_of(text.prompt), lengths)
    return {owners[run]: run for run in sorted(found & owners.keys())}


def refuse(found: Told, name: str, margin: float) -> None:
    """Stop where the writer was told.

    Args:
        found: as made by `check`.
        name: of the texts, for people.
        margin: excess that is let pass (share of rows).

    Raises:
        InputError: it was; the message has the figures and what was written.
    """
    if found.told:
        raise InputError(
            f"leak: texts name targets that their writer cannot have known; for instance {', '.join(found.examples)}",
            field="completions",
            value=f"{name}: named in {found.named:.1%} of {found.rows} rows, {found.by_chance:.1%} by chance",
            rule=f"at most {margin:.1%} of rows above chance (evaluate.told_margin)",
            cure="find how the target reaches the prompt or the weights: only fit rows may teach, only histories may "
            "be shown",
        )  # fmt: skip


def _text(item: int, catalogue: Catalogue) -> str:
    # The line as well: it holds the clipped words that a writer would repeat.
    parts = (catalogue.titles[item], catalogue.brands[item], catalogue.categories[item], item_line(item, catalogue))
    return " ".join(parts)


def _runs(words: Sequence[str], lengths: Iterable[int]) -> set[Words]:
    return {tuple(words[place : place + length]) for length in lengths for place in range(len(words) - length + 1)}
