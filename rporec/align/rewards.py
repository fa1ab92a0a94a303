"""The reward of one completion: one pure function a term of design section 6, each in [0, 1], and their mix.

Where ours differs from the published form (`align.form`), the docstring says why, and `published_…` is that form.
Nothing here sees a model, a batch or another row: numbers and texts of one completion in, a number out.
`rporec.align.scorer` gathers these inputs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rporec.errors import InputError

TERMS = ("format", "outside", "rank", "concise", "similar", "entropy", "grounded")
CANDIDATES = 50  # that the published form ranks the target among
_CUTOFFS = {"ndcg": 10, "ndcg_1000": 1000}
TOP_SHARE = 0.2  # "top 20 % thought tokens", design section 6


@dataclass(frozen=True)
class Terms:
    """The terms of one completion, each in [0, 1] (the published entropy may exceed 1), and the factors that gate them.

    Args:
        well_formed: 1 for `<think>…</think><answer>…</answer>`, else 0.
        valid: how far the answer names an item of the catalogue (`valid`); 1 in the published form.
        format: see `form`.
        outside, rank, concise, similar, entropy, grounded: see the functions of these names.
    """

    well_formed: float
    valid: float
    format: float
    outside: float
    rank: float
    concise: float
    similar: float
    entropy: float
    grounded: float


NOTHING = Terms(*([0.0] * 9))


def mix(terms: Terms, weights: Sequence[float]) -> float:
    """Return the reward, `well_formed x valid x sum of w_t x term_t` over `TERMS` (design section 6; `valid` is ours).

    Args:
        terms: the terms of one completion.
        weights: seven weights >= 0 in the order of `TERMS`; published: .1 .1 .5 .1 .1 .1 and 0.

    Returns:
        A number in [0, sum of weights].
    """
    values = (
        terms.format, terms.outside, terms.rank, terms.concise, terms.similar, terms.entropy, terms.grounded
    )  # fmt: skip
    return terms.well_formed * terms.valid * sum(w * v for w, v in zip(weights, values, strict=True))


def form(well_formed: bool) -> float:
    """Return 1 for a completion `<think>…</think><answer>…</answer>`, else 0 (the format reward, design section 6)."""
    return 1.0 if well_formed else 0.0


def outside(characters: int, delta: int) -> float:
    """Return `1 - min(outside, delta) / delta` (design section 6; published delta 100).

    Ours charges text between `</think>` and `<answer>` too: `characters` counts all outside the two tags. In the
    published form it is free: the caller leaves it out.
    """
    return 1.0 - min(characters, delta) / delta


def rank_gains(kind: str, n_items: int) -> np.ndarray:
    """Return the gain of each rank [N], in [0, 1], falling: the table that `rank` averages over ties.

    `ndcg`: `1 / log2(r + 2)` for r < 10, else 0 (one relevant item, so NDCG@10 itself, by which the gates judge).
    `ndcg_1000`: the same for r < 1000: most completions earn something, so that few groups are without variance. Made
    for large catalogues: a random ranker earns .03 of 1 among 3,700 items, .14 among 600.
    `reciprocal_log`: `1 / log2(r + 2)`, shifted and scaled so that the last rank earns 0, and a random ranker about 0.

    Raises:
        InputError: `kind` is no rank reward by rank.
    """
    ranks = np.arange(n_items, dtype=np.float64)
    gains = 1.0 / np.log2(ranks + 2.0)
    if kind in _CUTOFFS:
        return np.asarray(np.where(ranks < _CUTOFFS[kind], gains, 0.0))
    if kind == "reciprocal_log":
        return np.asarray((gains - gains[-1]) / max(gains[0] - gains[-1], 1e-12))
    raise InputError(
        "unknown rank reward", field="align.rank_reward", value=kind,
        rule="ndcg | ndcg_1000 | reciprocal_log | log_probability", cure="choose one of these",
    )  # fmt: skip


def published_gains() -> np.ndarray:
    """Return `1 / log2(r + 2)` of each rank among the candidates [50], unscaled: a random ranker earns .26 of 1."""
    return np.asarray(1.0 / np.log2(np.arange(CANDIDATES, dtype=np.float64) + 2.0))


def rank(gains: np.ndarray, above: int, ties: int) -> float:
    """Return the expected gain of the target when its ties are broken at random.

    Args:
        gains: gain of each rank [N], from `rank_gains`.
        above: items scored strictly higher than the target.
        ties: other items with the target's score. A tie never helps: it only adds lower ranks to the mean.
    """
    return float(np.mean(gains[above : above + ties + 1]))


def log_probability(value: float, n_items: int) -> float:
    """Return `1 + ln p / ln N` clipped to [0, 1]: 1 for p = 1, 0 for the uniform distribution or less.

    Args:
        value: ln p of the target under the calibrated Rechead.
        n_items: catalogue size N >= 2.
    """
    return min(1.0, max(0.0, 1.0 + value / math.log(n_items)))


def told(true: int, wanted: int) -> float:
    """Return `min(1, t / r)`: how far a thought speaks of its prompt; 1 where there is nothing to speak of (r = 0).

    Ours. Who names nothing errs in nothing: without this, words that suit any customer would be the truest thought.

    Args:
        true: t, names and numbers of the thought that its prompt holds.
        wanted: r, the same of the reference; at least 1 where the prompt shows items and the reference names any.
    """
    return min(1.0, true / wanted) if wanted else 1.0


def said(own: int, wanted: int, told: float) -> float:
    """Return `min(1, 2 w / v, 2 told)`: how far a thought says something, of its prompt and in words of its own.

    Ours, a factor of three terms. One word, one word repeated, a copied history or a list of titles may be short,
    close to the reference and true of the prompt, and are no thought: they hold hardly a word that is not the name of
    something. Nor are letters that are no words at all, nor everyday words about nothing. A thought half as rich in
    such words, and in true names, as the reference says enough.

    Args:
        own: w, distinct words of the thought that name no brand, category, item word or number of the catalogue, do
            not stand in the item lines or the evidence of its prompt, and are everyday words or the reference's.
        wanted: v, the same of the reference; where there is none, a usual length in words; at least 1.
        told: `told` of the thought.
    """
    return min(1.0, 2.0 * own / wanted, 2.0 * told)


def concise(words: int, wanted: int, own: float) -> float:
    """Compare the thought's length with the reference's (a thought of the frozen backbone for the same prompt).

    With l words and r reference words: `said x clip(2 - l / r, 0, 1)`: full up to r, falling to 0 at 2 r. The published
    term falls with length alone and is highest for a one-word thought; here that earns `said`, next to nothing.

    Args:
        words: l.
        wanted: r, at least 1.
        own: `said` of the thought.
    """
    return own * min(1.0, max(0.0, 2.0 - words / wanted))


def published_concise(words: int, wanted: int) -> float:
    """Return `clip(1 - l / r, 0, 1)`: it falls with length alone."""
    return max(0.0, 1.0 - words / wanted)


def similar(thought: np.ndarray, reference: np.ndarray, own: float) -> float:
    """Return `said x clip(cosine, 0, 1)` of thought and reference in the Rechead's text space (design section 6).

    Args:
        thought: unit vector [D], or zeros for a text without known words (similar to nothing: 0).
        reference: as thought, of the frozen backbone's thought for the same prompt.
        own: `said` of the thought; 1 in the published form.
    """
    return own * min(1.0, max(0.0, float(np.dot(thought, reference))))


def grounded(named: int, missing: int, own: float, told: float) -> float:
    """Return `said x told x (1 - missing / named)`: how far a thought is true of its prompt, and how much of it.

    Ours: nothing else in the reward minds what a thought claims (`rporec.reasoning.ground` looks it up). The share
    alone, precision, is highest for a thought that names one thing or none; `told` is the recall of what the
    reference rightly names.

    Args:
        named: brands, categories, item words and numbers that the thought names.
        missing: those of them that its prompt does not hold.
        own: `said` of the thought; 1 in the published form.
        told: `told` of the thought; 1 in the published form.
    """
    return own * told * (1.0 - missing / named if named else 1.0)


def entropy(entropies: Sequence[float], vocabulary: int) -> float:
    """Return (mean of the top 20 % of thought-token entropies - mean of all) / ln V.

    Design section 6 has no divisor; ln V, the most that an entropy can be, bounds the term.

    Args:
        entropies: entropy of each *generated* thought token, nats; published code re-tokenises the text and silently
            gets 0 when that differs.
        vocabulary: V >= 2.
    """
    return min(1.0, max(0.0, published_entropy(entropies) / math.log(vocabulary)))


def published_entropy(entropies: Sequence[float]) -> float:
    """Return mean of the top 20 % of thought-token entropies - mean of all, nats; not bounded by 1."""
    if not entropies:
        return 0.0
    values = np.sort(np.asarray(entropies, dtype=np.float64))[::-1]
    top = values[: max(1, math.ceil(TOP_SHARE * len(values)))]
    return float(top.mean() - values.mean())


def valid(answer: str, nearest: str) -> float:
    """Return `m / a x min(1, 2 m / n)`: how far the answer describes the catalogue item nearest to it.

    Ours, against reward hacking (design section 11: catalogue-valid answers fell from 76 % to 45 % while the reward
    rose): an answer that mixes words of several items, or invents some, is no description of an item. Nor is one
    word, or one said again: m of the answer's a words match one of the item's n each, and half of these are enough.

    Args:
        answer: the answer's words, labels of the answer form already removed, lower case.
        nearest: all words of the item that the answer retrieves, lower case.
    """
    words, wanted = answer.split(), nearest.split()
    matched = (Counter(words) & Counter(wanted)).total()
    return matched / len(words) * min(1.0, 2.0 * matched / len(wanted)) if words and wanted else 0.0
