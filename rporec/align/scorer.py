"""The reward of a batch of completions, by the frozen Rechead over the full catalogue.

One call scores all rows at once, and a group's history logits are computed once for its G completions; yet no row's
reward depends on another row (tested by order, batch size and company). Scoring sees prompt facts (history, targets, a
reference thought), the completion and its token entropies; nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from rporec.align import rewards
from rporec.align.rewards import Terms
from rporec.backbone.source import Writer
from rporec.catalogue import Catalogue
from rporec.config import AlignParams
from rporec.errors import InputError
from rporec.evaluation.metrics import rank_targets
from rporec.reasoning.ground import Grounder, Grounding, words_of
from rporec.reasoning.parse import THINK_CLOSE, THINK_OPEN, Parsed, between, parse
from rporec.reasoning.prompt import item_line
from rporec.reasoning.words import EVERYDAY

_WORD = re.compile(r"\w+")
# What joins words that the Rechead's encoder reads apart; sizes and part numbers (1/4, 3.5, m-12) stay whole there too.
_JOINED = re.compile(r"(?<=\w)(?![.\-/'’]\w)[^\w\s]+(?=\w)|(?<=\w{3})['’](?=\w{3})")
_LEAST_OWN = 4  # words of a reference for each that must be its own
USUAL_WORDS = 20  # of a thought, where the backbone wrote none: a constant, so that no row hangs on others


class RewardHead(Protocol):
    """What the reward needs of a Rechead."""

    @property
    def n_items(self) -> int:
        """Catalogue size N."""

    def history_logits(self, histories: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return logits [B, N] of the history alone."""

    def add_reasoning(self, logits: torch.Tensor, reasoning: Sequence[Sequence[Parsed]]) -> torch.Tensor:
        """Return log-probabilities [B, N] with reasoning."""


class TextSpace(Protocol):
    """What the reward needs of the text encoder."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors [n, D], zeros for texts without known words."""


@dataclass(frozen=True)
class Facts:
    """What is known of a group before a completion is written for it.

    Args:
        history: item indices, oldest first.
        targets: the group's true next items; the rank term is their mean (a basket is bought as a whole).
        reference: the frozen backbone's greedy thought for the same prompt, "" if it wrote none.
        words: length of the reference in words, `USUAL_WORDS` where there is none; at least 1.
        shown: the part of the history that the prompt shows.
        evidence: what the prompt shows beside it, as text.
    """

    history: tuple[int, ...]
    targets: tuple[int, ...]
    reference: str
    words: int
    shown: tuple[int, ...]
    evidence: str


@dataclass(frozen=True)
class Scored:
    """Reward of one completion, in our form in [0, sum of weights], and its terms."""

    reward: float
    terms: Terms


@dataclass(frozen=True)
class Yardstick:
    """What a group's thought should hold by its reference: words of its own (v of `said`), true names (r of `told`)."""

    own: int
    true: int


class RewardScorer:
    """Scores completions of known groups.

    Args:
        head: the frozen Rechead.
        texts: the Rechead's text encoder.
        catalogue: the items that the head ranks.
        facts: by group.
        params: weights and choices of the reward.
        vocabulary: size V of the policy's vocabulary, bounds the entropy term.

    Raises:
        InputError: the head ranks another catalogue.
    """

    def __init__(
        self,
        head: RewardHead,
        texts: TextSpace,
        catalogue: Catalogue,
        facts: Mapping[int, Facts],
        params: AlignParams,
        vocabulary: int,
    ) -> None:
        if head.n_items != catalogue.n:
            raise InputError(
                "the Rechead was trained for another catalogue", value=f"{head.n_items} items",
                rule=f"{catalogue.n} items", cure="run the stage rechead again (make run)",
            )  # fmt: skip
        self.head, self.texts, self.facts, self.params, self.vocabulary = head, texts, facts, params, vocabulary
        self._lines = [item_line(item, catalogue) for item in range(catalogue.n)]
        self._item_words = [_words(line) for line in self._lines]
        self._item_vectors = texts.encode(self._lines)  # [N, D]
        weights = params.weights.model_dump()
        self.weights = tuple(float(weights[term]) for term in rewards.TERMS)
        self._published = params.form == "published"
        self._grounder = Grounder(catalogue)
        by_rank = params.rank_reward != "log_probability"
        self._gains = rewards.rank_gains(params.rank_reward, catalogue.n) if by_rank else None

    def score(
        self, groups: Sequence[int], completions: Sequence[str], entropies: Sequence[Sequence[float]]
    ) -> list[Scored]:
        """Score n completions.

        Args:
            groups: n group numbers, known to `facts`.
            completions: n texts as generated, end token removed.
            entropies: n lists, entropy of each generated thought token in nats (may be empty).
        """
        parsed = [parse(text) for text in completions]
        scored = [Scored(0.0, rewards.NOTHING) for _ in completions]
        good = [row for row, one in enumerate(parsed) if one.well_formed]
        if not good:
            return scored
        facts = [self.facts[groups[row]] for row in good]
        ranks = self._rank_terms([groups[row] for row in good], [parsed[row] for row in good])
        vectors, references = self._vectors(facts, [parsed[row].thought for row in good])
        valids = self._valid_factors([parsed[row].answer for row in good])
        wanted = {group: self._wanted(self.facts[group]) for group in {groups[row] for row in good}}
        for place, row in enumerate(good):
            own, known = parsed[row], facts[place]
            looked_up = self._look_up(own.thought, known)
            said, told = self._substance(own.thought, looked_up, known, wanted[groups[row]])
            terms = Terms(
                well_formed=1.0,
                valid=1.0 if self._published else valids[place],
                format=rewards.form(own.well_formed),
                outside=self._outside_term(own, completions[row]),
                rank=ranks[place],
                concise=self._concise_term(own.thought, known.words, said),
                similar=rewards.similar(vectors[place], references[place], said),
                entropy=self._entropy_term(entropies[row]),
                grounded=rewards.grounded(len(looked_up.named), len(looked_up.missing), said, told),
            )
            scored[row] = Scored(rewards.mix(terms, self.weights), terms)
        return scored

    def _outside_term(self, own: Parsed, completion: str) -> float:
        free = between(completion) if self._published else 0
        return rewards.outside(own.outside - free, self.params.outside_limit)

    def _substance(self, thought: str, looked_up: Grounding, known: Facts, wanted: Yardstick) -> tuple[float, float]:
        """Return `said` and `told` of a thought; 1 in the published form, which asks for neither."""
        if self._published:
            return 1.0, 1.0
        told = rewards.told(looked_up.true, wanted.true)
        return rewards.said(self._own(thought, looked_up, known), wanted.own, told), told

    def _own(self, thought: str, looked_up: Grounding, known: Facts) -> int:
        """Return w of `rewards.said`: how many words of a thought are neither names nor copied from its prompt."""
        shown = words_of("\n".join([*(self._lines[item] for item in known.shown), known.evidence]))
        named = {word for name in looked_up.named for word in name.split()}
        words = set(words_of(thought))
        speech = (words & EVERYDAY) | words.intersection(words_of(known.reference))
        return len(speech - named.union(shown))

    def _look_up(self, thought: str, known: Facts) -> Grounding:
        """Return what the thought names, words that are joined to others read apart where that is not truer."""
        found = [self._grounder.check(thought, known.shown, known.evidence)]
        apart = _JOINED.sub(" ", thought)
        if apart != thought and not self._published:
            found.append(self._grounder.check(apart, known.shown, known.evidence))
        return min(found, key=lambda one: one.share)

    def _wanted(self, known: Facts) -> Yardstick:
        found = self._look_up(known.reference, known)
        own = self._own(known.reference, found, known) if known.reference else known.words
        true = max(found.true, int(bool(known.shown and (found.named or not known.reference))))
        return Yardstick(max(1, known.words // _LEAST_OWN, own), true)

    def _concise_term(self, thought: str, wanted: int, said: float) -> float:
        words = len(thought.split())
        if self._published:
            return rewards.published_concise(words, wanted)
        return rewards.concise(max(words, len(words_of(thought))), wanted, said)  # commas without spaces hide no word

    def _entropy_term(self, entropies: Sequence[float]) -> float:
        return rewards.published_entropy(entropies) if self._published else rewards.entropy(entropies, self.vocabulary)

    def _rank_terms(self, groups: list[int], parsed: list[Parsed]) -> list[float]:
        distinct = sorted(set(groups))
        place = {group: row for row, group in enumerate(distinct)}
        histories = [self.facts[group].history for group in distinct]
        logits = self.head.history_logits(histories)[[place[group] for group in groups]]  # [n, N]
        scores = self.head.add_reasoning(logits, [[one] for one in parsed]).float().numpy()  # [n, N]
        rows = [(row, target) for row, group in enumerate(groups) for target in self.facts[group].targets]
        row_of, targets = np.array([r for r, _ in rows]), np.array([t for _, t in rows])
        if self._published:
            gains = self._candidate_gains(scores, np.asarray(groups)[row_of], row_of, targets)
        else:
            gains = self._target_gains(scores, row_of, targets)
        totals = np.bincount(row_of, weights=gains, minlength=len(groups))
        return [float(x) for x in totals / np.bincount(row_of, minlength=len(groups))]

    def _target_gains(self, scores: np.ndarray, row_of: np.ndarray, targets: np.ndarray) -> np.ndarray:
        n_items = scores.shape[1]
        if self._gains is None:
            chosen = scores[row_of, targets]
            return np.array([rewards.log_probability(float(value), n_items) for value in chosen])
        ranks = rank_targets(scores, row_of, targets)
        return np.array(
            [rewards.rank(self._gains, int(a), int(t)) for a, t in zip(ranks.above, ranks.ties, strict=True)]
        )

    def _candidate_gains(
        self, scores: np.ndarray, groups: np.ndarray, row_of: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        """Return the published gain of each target among itself and others drawn once for its group."""
        gains = rewards.published_gains()
        found = np.empty(len(targets))
        for place, (group, row, target) in enumerate(zip(groups, row_of, targets, strict=True)):
            drawn = candidates(int(group), int(target), scores.shape[1])
            others, own = scores[row, drawn], scores[row, target]
            found[place] = rewards.rank(gains, int((others > own).sum()), int((others == own).sum()))
        return found

    def _vectors(self, facts: list[Facts], thoughts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return self.texts.encode(thoughts), self.texts.encode([one.reference for one in facts])  # [n, D] each

    def _valid_factors(self, answers: list[str]) -> list[float]:
        nearest = (self.texts.encode(answers) @ self._item_vectors.T).argmax(axis=1)
        return [
            rewards.valid(_words(answer), self._item_words[item]) for answer, item in zip(answers, nearest, strict=True)
        ]


def candidates(group: int, target: int, n_items: int) -> np.ndarray:
    """Return the items that the published form ranks a target among, 49 others at most, the same ones every time."""
    drawn = np.random.default_rng((group, target)).permutation(n_items)[: rewards.CANDIDATES]
    return np.asarray(drawn[drawn != target][: rewards.CANDIDATES - 1])


def thought_entropies(writer: Writer, ids: list[int], entropies: Sequence[float]) -> list[float]:
    """Return the entropies of the tokens between the think tags, [] where a tag is missing.

    A token belongs to the thought when it adds text between the tags; found by decoding prefixes, so that it holds for
    any tokenizer and nothing is tokenised again.
    """
    text = writer.decode(ids)
    start, end = text.find(THINK_OPEN), text.find(THINK_CLOSE)
    if start < 0 or end < start:
        return []
    first = _tokens_for(writer, ids, start + len(THINK_OPEN))
    last = _tokens_for(writer, ids, end)
    return list(entropies[first:last])


def _tokens_for(writer: Writer, ids: list[int], characters: int) -> int:
    """Return the fewest leading tokens whose text has at least so many characters (text grows with tokens)."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(writer.decode(ids[:middle])) >= characters:
            high = middle
        else:
            low = middle + 1
    return low


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
