"""The true measure of a policy while it is trained: NDCG@10 of held-out rows with its greedy completions.

Uses the Rechead `chosen`, which is not the one that gives the reward, on rows of `valid`. Not a test: the test rows
stay closed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.align.scorer import RewardHead
from rporec.backbone.generate import Sampling, generate
from rporec.backbone.source import Writer
from rporec.evaluation.metrics import Floats, ndcg
from rporec.evaluation.scoring import TestSet, rank_rows
from rporec.reasoning.ground import Grounder
from rporec.reasoning.parse import Parsed, parse
from rporec.reasoning.prompt import split_prompt

CUTOFF = 10


@dataclass(frozen=True)
class Held:
    """What a held-out check found.

    Args:
        ndcg: NDCG@10, mean over rows, full ranking.
        well_formed: share of well-formed completions.
        grounded: mean share of what the thoughts name that the prompts hold.
        named: names and numbers of a thought that its prompt holds, mean.
        length: generated tokens, mean.
    """

    ndcg: float
    well_formed: float
    grounded: float
    named: float
    length: float


@dataclass(frozen=True)
class HeldOut:
    """A sample of held-out groups and what measures them.

    Args:
        head: the Rechead `chosen`.
        test: E groups and their rows.
        prompts: E prompts, in the order of the groups.
        shown: E histories as far as the prompts show them.
        grounder: the truth check of thoughts.
        sampling: greedy, one sample.
    """

    head: RewardHead
    test: TestSet
    prompts: list[str]
    shown: list[list[int]]
    grounder: Grounder
    sampling: Sampling

    def check(self, writer: Writer) -> Held:
        """Let a policy write for every held-out group, and measure."""
        written = [samples[0] for samples in generate(writer, self.prompts, self.test.groups, self.sampling)]
        parsed = [parse(one.text) for one in written]
        looked_up = [
            self.grounder.check(one.thought, history, split_prompt(prompt)[1])
            for one, history, prompt in zip(parsed, self.shown, self.prompts, strict=True)
            if one.well_formed
        ]
        return Held(
            ndcg=float(ndcg_rows(self.head, self.test, [[one] for one in parsed]).mean()),
            well_formed=float(np.mean([one.well_formed for one in parsed])),
            grounded=float(np.mean([one.share for one in looked_up])) if looked_up else 0.0,
            named=float(np.mean([one.true for one in looked_up])) if looked_up else 0.0,
            length=float(np.mean([len(one.token_ids) for one in written])),
        )


def ndcg_rows(head: RewardHead, test: TestSet, reasoning: Sequence[Sequence[Parsed]]) -> npt.NDArray[np.float64]:
    """Return each row's NDCG@10 [n] when the head reads this reasoning (one list a group)."""

    def score(part: slice) -> dict[str, Floats]:
        logits = head.history_logits(test.histories[part])
        return {"head": head.add_reasoning(logits, reasoning[part]).numpy()}

    return ndcg(rank_rows(test, ["head"], score, head.n_items)["head"], CUTOFF)


def sample_groups(rows: pl.DataFrame, groups: int, seed: int) -> pl.DataFrame:
    """Return the rows of at most so many groups, drawn by seed, in the order of the table."""
    all_groups = np.unique(rows["group"].to_numpy())
    if len(all_groups) <= groups:
        return rows
    drawn = np.random.default_rng(seed).choice(all_groups, groups, replace=False)
    return rows.filter(pl.col("group").is_in(drawn.tolist()))
