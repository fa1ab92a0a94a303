"""A small world for evaluation: a head that reads one word of the answer, rows, completions, a whole set of results."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch

from rporec.catalogue import Catalogue
from rporec.config import EvaluateParams
from rporec.evaluation.frames import ranks_frame
from rporec.evaluation.metrics import Ranks
from rporec.evaluation.results import RANKERS
from rporec.evaluation.scoring import TestSet, rank_baseline, rank_rechead, reasoning_of, shuffle_reasoning
from rporec.evaluation.slices import label_rows
from rporec.tables import COMPLETIONS, ITEMS, ROWS

N = 12
PARAMS = EvaluateParams(
    cutoffs=(5, 10, 20), sasrec_epochs=1, sasrec_patience=1, sasrec_inputs=("ids", "text"),
    gsasrec_calibrations=(0.75,), gsasrec_negatives=5, ease_items=100, resamples=99, confidence=0.95, told_margin=0.05,
)  # fmt: skip

CHOSEN = {"sasrec": {"variant": "ids & <more>", "epochs": 7, "valid_ndcg@10": {"ids & <more>": 0.25, "text": 0.125}}}


class ToyHead:
    """The history says nothing; an answer `item i` raises item i; scores of equal items tie."""

    n_items = N

    def history_logits(self, histories: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.zeros(len(histories), N)

    def add_reasoning(self, logits: torch.Tensor, reasoning: Sequence[Sequence[object]]) -> torch.Tensor:
        logits = logits.clone()
        for line, samples in enumerate(reasoning):
            for parsed in samples:
                if parsed.well_formed:
                    logits[line, int(parsed.answer.split()[-1])] += 2.0
        return torch.log_softmax(logits, dim=1)

    def no_reasoning(self, logits: torch.Tensor) -> torch.Tensor:
        return logits


class ToyRanker:
    """Prefers low item numbers, with noise of its own."""

    def __init__(self, seed: int) -> None:
        self.noise = np.random.default_rng(seed).normal(size=N)

    def scores(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        return np.tile(self.noise - np.arange(N), (len(histories), 1)).astype(np.float32)


def items() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": [f"i{i:02d}" for i in range(N)], "title": [f"<b>Title {i}</b>" for i in range(N)],
            "description": [""] * N, "brand": ["b"] * N, "category": ["c"] * N, "price": [1.0] * N,
            "known_from": [None] * N,
        },
        schema=ITEMS.columns,
    )  # fmt: skip


def rows(count: int, users: int, start: int = 0, slice_name: str = "test") -> pl.DataFrame:
    """Rows in pairs: two rows a group (basket), users in turn; targets run through the catalogue."""
    numbers = np.arange(count)
    return pl.DataFrame(
        {
            "row_id": numbers + start, "group": start + numbers // 2,
            "user_id": [f"u{(n // 2) % users}" for n in numbers], "timestamp": 1000 + numbers // 2,
            "history": [[int(n // 2) % N] * (1 + int(n // 2) % 6) for n in numbers], "target": numbers % N,
            "slice": [slice_name] * count,
        },
        schema=ROWS.columns,
    )  # fmt: skip


def completions(test: pl.DataFrame, *, right: bool) -> pl.DataFrame:
    """One completion a group that names its first target (or the next item), every seventh broken."""
    firsts = test.unique("group", keep="first", maintain_order=True).sort("group")
    told = []
    for number, (group, target) in enumerate(firsts.select("group", "target").iter_rows()):
        answer = f"item {target if right else (target + 1) % N}"
        broken = number % 7 == 6
        text = "no tags <script>alert(1)</script>" if broken else f"<think>so & so</think><answer>{answer}</answer>"
        told.append(
            {
                "group": group, "sample": 0, "slice": "test", "prompt": "p", "completion": text,
                "thought": "" if broken else "so & so", "answer": "" if broken else answer,
                "well_formed": not broken, "grounded": 1.0, "named": 1,
            }
        )  # fmt: skip
    return pl.DataFrame(told, schema=COMPLETIONS.columns)


def catalogue() -> Catalogue:
    return Catalogue.from_table(items())


def ranked(test: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray, TestSet]:
    """Ranks of every ranker, the confidence per row, and the test set."""
    told = TestSet.from_rows(test)
    own = reasoning_of(completions(test, right=True), told.groups)
    ranks: dict[str, Ranks]
    ranks, confidence = rank_rechead(
        ToyHead(), told,
        {
            "rporec": own, "stage1": reasoning_of(completions(test, right=False), told.groups),
            "reasoning_removed": None, "shuffled_reasoning": shuffle_reasoning(own, told.users, 0),
        },
    )  # fmt: skip
    for seed, name in enumerate(RANKERS[5:]):
        ranks[name] = rank_baseline(ToyRanker(seed), told, name, N)
    return ranks_frame(label_rows(test, known), ranks), confidence[told.group_pos], told
