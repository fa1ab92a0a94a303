"""What benches of alignment train on: a fresh embedded backbone, prompts of one length, rewards by the real scorer.

Nothing here is trained, so nothing is said of how good anything is; sizes and work are those of real runs. The policy
writes noise, which would be scored in no time: rewards are those of well-formed completions made here, other ones in
every step.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from infra.bench.world import World
from rporec.align.rewards import TERMS
from rporec.align.scorer import Facts, RewardScorer, Scored
from rporec.backbone.embedded import Shape, build_model, train_tokenizer
from rporec.backbone.source import Writer
from rporec.encode.source import EMBEDDED, Source
from rporec.reasoning.prompt import build_prompt, item_line
from rporec.rechead.arms import make_reader
from rporec.rechead.calibration import AS_IT_IS
from rporec.rechead.head import FusedHead, HeadWeights, HistoryHead
from rporec.rechead.model import Rechead, Weights
from rporec.rechead.residual import ReasoningResidual
from rporec.rechead.tower import HistoryTower, TowerShape
from rporec.transitions import Transitions

_SPREAD = 6.0  # times the initial weights: else all tokens are equally likely, and which are surest is float noise
_THOUGHT_TOKENS = 24  # whose entropies a reward reads


@dataclass(frozen=True)
class Sizes:
    """Sizes of a step: B prompts, G samples of each, P tokens a prompt, L tokens a completion."""

    prompts: int
    samples: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def context(self) -> int:
        """Tokens of a prompt with its completion."""
        return self.prompt_tokens + self.completion_tokens

    def told(self) -> dict[str, int]:
        """Return the sizes by name, for a line of figures."""
        return asdict(self)


def make_writer(world: World, sizes: Sizes) -> Writer:
    """Return the embedded backbone of the profile, not trained."""
    shape = world.params.backbone
    lines = [item_line(item, world.catalogue) for item in range(world.catalogue.n)]
    tokenizer = train_tokenizer(lines, shape.vocab_size, sizes.context)
    whole = Shape(shape.width, shape.layers, shape.heads, sizes.context)
    model = build_model(tokenizer, whole, world.params.run.seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(_SPREAD)
    return Writer(model, tokenizer)


def make_prompts(world: World, writer: Writer, sizes: Sizes) -> list[list[int]]:
    """Return the prompts of the first test groups as P token ids each: from the start over where they are shorter."""
    histories = world.parts["test"]["history"].head(sizes.prompts).to_list()
    ids = [
        writer.encode(build_prompt(history, world.catalogue, world.params.backbone.prompt_items))
        for history in histories
    ]
    return [list(itertools.islice(itertools.cycle(one), sizes.prompt_tokens)) for one in ids]


class Rewards(RewardScorer):
    """The real scorer over well-formed completions that depend on the step alone.

    Args:
        world: the items, and the histories of the prompts.
        prompts: B; group b is the history of the b-th test row.
        vocabulary: V.
    """

    def __init__(self, world: World, prompts: int, vocabulary: int) -> None:
        rows = world.parts["test"].head(prompts)
        pairs = zip(rows["history"].to_list(), rows["target"].to_list(), strict=True)
        self.lines = [item_line(item, world.catalogue) for item in range(world.catalogue.n)]
        reference = f"likely next: {self.lines[0]}"
        words, most = len(reference.split()), world.params.backbone.prompt_items
        facts = {
            group: Facts(tuple(history), (target,), reference, words, tuple(history[-most:]), "")
            for group, (history, target) in enumerate(pairs)
        }
        head = make_head(world)
        super().__init__(head, head.encoder, world.catalogue, facts, world.params.align, vocabulary)
        self.step = 0

    def score(
        self, groups: Sequence[int], completions: Sequence[str], entropies: Sequence[Sequence[float]]
    ) -> list[Scored]:
        """Score as many completions as are given, but not those: as `RewardScorer.score`."""
        rng = np.random.default_rng(self.step)
        self.step += 1
        named = rng.integers(len(self.lines), size=(len(completions), 3)).tolist()
        texts = [
            f"<think>seen {self.lines[a]}, then {self.lines[b]}</think><answer>{self.lines[c]}</answer>"
            for a, b, c in named
        ]
        entropies = rng.random((len(completions), _THOUGHT_TOKENS)).tolist()
        scored = super().score(groups, texts, entropies)
        assert all(one.terms.well_formed for one in scored), TERMS
        return scored


def make_head(world: World) -> Rechead:
    """Return a Rechead of the profile's size, its transitions counted, the rest not fitted."""
    sizes, train, catalogue = world.params.rechead, world.parts["train"], world.catalogue
    reader = make_reader(catalogue, Source(EMBEDDED, sizes.text_dim, world.params.run.seed, Path()))
    shape = TowerShape(
        n_items=catalogue.n, text_dim=sizes.text_dim, width=sizes.width, layers=sizes.layers, heads=sizes.heads,
        history_length=world.params.sequence.history_length, dropout=sizes.dropout,
    )  # fmt: skip
    histories = [np.asarray(history) for history in train["history"].to_list()]
    rows = (np.arange(train.height), train["target"].to_numpy())
    transitions = Transitions.fit_groups(histories, rows, catalogue.n, sizes.transition_decay)
    history_head = HistoryHead(HistoryTower(shape, reader.items, world.params.run.seed), transitions)
    head = FusedHead(history_head, HeadWeights(tower=1.0, transition=1.0, prior=1.0))
    residual = ReasoningResidual(reader.items, world.params.run.seed)
    return Rechead(head, reader, residual, Weights(strength=1.0, told=AS_IT_IS, alone=AS_IT_IS))
