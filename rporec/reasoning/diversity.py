"""How varied texts are: distinct n-grams and self-BLEU. Says nothing about whether they are true or useful.

Words are those of `rporec.reasoning.ground.words_of`: lower case, punctuation at their edges removed.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice

_ORDERS = 4
_ALMOST_NONE = 0.1  # matches counted for an order without any (smoothing 1 of Chen and Cherry, 2014)

Grams = Counter[tuple[str, ...]]


def distinct(texts: Sequence[Sequence[str]], order: int) -> float | None:
    """Return distinct-n (Li et al., NAACL 2016): different n-grams over all n-grams of all texts, in (0, 1].

    Args:
        texts: the words of each text.
        order: n.

    Returns:
        The share; None where no text has n words. It falls with the number of texts: compare like with like.
    """
    counts = sum((_grams(words, order) for words in texts), Counter())
    return len(counts) / counts.total() if counts else None


def self_bleu(texts: Sequence[Sequence[str]], most: int, seed: int) -> float | None:
    """Return self-BLEU-4 (Zhu et al., SIGIR 2018): the mean BLEU-4 of each text against all others, in [0, 1].

    1 means that every text is a copy of another. BLEU-4 is the geometric mean of the clipped precisions of 1- to
    4-grams (of the orders that the text has), times the brevity penalty against the reference of nearest length
    (the shorter of two); an order without a match counts as a tenth of a match.

    Args:
        texts: the words of each text; texts without a word are left out.
        most: texts compared, at most; a larger collection is sampled.
        seed: of the sample.

    Returns:
        The mean; None for fewer than two texts.
    """
    kept = [words for words in texts if words]
    if len(kept) < 2:
        return None
    drawn = kept if len(kept) <= most else random.Random(seed).sample(kept, most)
    lengths = Counter(map(len, drawn))
    orders = [[_grams(words, order) for words in drawn] for order in range(1, _ORDERS + 1)]
    highest = [_two_highest(grams) for grams in orders]
    scores = []
    for place, words in enumerate(drawn):
        logs = []
        for grams, tops in zip(orders, highest, strict=True):
            own = grams[place]
            if own:
                matches = sum(min(count, _elsewhere(tops[gram], count)) for gram, count in own.items())
                logs.append(math.log((matches or _ALMOST_NONE) / own.total()))
        scores.append(math.exp(sum(logs) / len(logs)) * _brevity(len(words), lengths))
    return sum(scores) / len(scores)


def _grams(words: Sequence[str], order: int) -> Grams:
    return Counter(zip(*(islice(words, start, None) for start in range(order)), strict=False))


def _two_highest(texts: Sequence[Grams]) -> dict[tuple[str, ...], tuple[int, int]]:
    """Return each n-gram's two highest counts in one text: enough to know its highest count in the other texts."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for grams in texts:
        for gram, count in grams.items():
            first, second = found.get(gram, (0, 0))
            found[gram] = (count, first) if count > first else (first, max(second, count))
    return found


def _elsewhere(tops: tuple[int, int], own: int) -> int:
    first, second = tops
    return second if own == first else first


def _brevity(length: int, lengths: Counter[int]) -> float:
    """Return the brevity penalty of a text, whose own length is among `lengths`."""
    others = (other for other, count in lengths.items() if count > (other == length))
    nearest = min(others, key=lambda other: (abs(other - length), other))
    return 1.0 if length >= nearest else math.exp(1 - nearest / length)
