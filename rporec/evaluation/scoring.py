"""Scoring the test rows: groups of rows, the reasoning variants, ranks of every ranker, calibration.

For turning models and completions into ranks; the meaning of ranks is metrics.py, their comparison compare.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from rporec.evaluation.metrics import Floats, Ints, Ranks, rank_targets
from rporec.reasoning.parse import Parsed, parse

if TYPE_CHECKING:
    import torch

# Most scores held at once, as cells of [groups, N], and most groups: five float32 variants stay below about 200 MB.
_CELLS, _GROUPS = 1 << 23, 1024
_TOP = 10
RELIABILITY = {"bin": pl.Int64(), "n": pl.Int64(), "confidence": pl.Float64(), "hit_rate": pl.Float64()}

Reasoning = Sequence[Sequence[Parsed]]


class Head(Protocol):
    """What is needed of a Rechead: scores from histories, with and without reasoning."""

    @property
    def n_items(self) -> int:
        """Catalogue size N."""

    def history_logits(self, histories: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return [B, N] logits of the histories alone."""

    def add_reasoning(self, logits: torch.Tensor, reasoning: Reasoning) -> torch.Tensor:
        """Return [B, N] calibrated log-probabilities of logits and reasoning."""

    def no_reasoning(self, logits: torch.Tensor) -> torch.Tensor:
        """Return [B, N] scores of the best head that never saw reasoning, from logits of the histories."""


class Ranker(Protocol):
    """A baseline: scores from histories."""

    def scores(self, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return [B, N] scores, higher is better."""


@dataclass(frozen=True)
class TestSet:
    """Test rows by group: E groups with a history and a user each, n rows with a target and a place among them."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    groups: list[int]
    histories: list[list[int]]
    users: list[str]
    group_pos: Ints
    targets: Ints

    @staticmethod
    def from_rows(rows: pl.DataFrame) -> TestSet:
        """Build from a ROWS table; groups stand in the order of their ids."""
        firsts = rows.unique("group", keep="first", maintain_order=True).sort("group")
        groups = firsts["group"].to_numpy()
        places = np.searchsorted(groups, rows["group"].to_numpy())
        return TestSet(
            groups.tolist(), firsts["history"].to_list(), firsts["user_id"].to_list(), places, rows["target"].to_numpy()
        )


def reasoning_of(completions: pl.DataFrame, groups: Sequence[int]) -> list[list[Parsed]]:
    """Return each group's parsed completions, in the order of `groups`; a group without completions has none."""
    found: dict[int, list[Parsed]] = {group: [] for group in groups}
    for group, text in completions.sort("group", "sample").select("group", "completion").iter_rows():
        if group in found:
            found[group].append(parse(text))
    return [found[group] for group in groups]


def shuffle_reasoning(reasoning: Reasoning, users: Sequence[str], seed: int) -> list[list[Parsed]]:
    """Give every group the reasoning of a group of another user; none where one user holds over half of the groups.

    Users are put in a random order with their groups side by side; everyone then takes the reasoning that stands as
    many places further as the most groups that one user has, which is never one's own.
    """
    rng = np.random.default_rng(seed)
    names, codes = np.unique(np.asarray(users, dtype=str), return_inverse=True)
    order = np.lexsort((rng.random(len(users)), rng.permutation(len(names))[codes]))
    step = int(np.bincount(codes).max(initial=0))
    given: list[list[Parsed]] = [[] for _ in users]
    for place, taker in enumerate(order):
        giver = order[(place + step) % len(order)]
        if codes[giver] != codes[taker]:
            given[taker] = list(reasoning[giver])
    return given


def rank_rows(
    test: TestSet, names: Sequence[str], score: Callable[[slice], Mapping[str, Floats]], n_items: int
) -> dict[str, Ranks]:
    """Rank every row's target by the scores of one or more rankers, some groups at a time.

    Args:
        test: the rows.
        names: the rankers.
        score: given a slice of the groups, returns each ranker's scores [groups in the slice, N].
        n_items: N, which bounds how many groups are scored at once.
    """
    order = np.argsort(test.group_pos, kind="stable")
    bounds = np.searchsorted(test.group_pos[order], np.arange(len(test.groups) + 1))
    found = {name: _blank(len(test.targets)) for name in names}
    for part in chunks(len(test.groups), n_items):
        rows = order[bounds[part.start] : bounds[part.stop]]
        for name, scores in score(part).items():
            ranks = rank_targets(scores, test.group_pos[rows] - part.start, test.targets[rows])
            found[name].above[rows], found[name].ties[rows] = ranks.above, ranks.ties
    return found


def rank_rechead(
    head: Head, test: TestSet, variants: Mapping[str, Reasoning | None]
) -> tuple[dict[str, Ranks], npt.NDArray[np.float64]]:
    """Rank by the Rechead with each variant of the reasoning (None = taken away), and by `no_reasoning`.

    Returns:
        Ranks per ranker, and [E] the probability that the first variant gives its ten best items together.
    """
    confidence = np.zeros(len(test.groups))
    first = next(iter(variants))

    def score(part: slice) -> dict[str, Floats]:
        histories = test.histories[part]
        logits = head.history_logits(histories)  # [e, N]
        scores: dict[str, Floats] = {}
        for name, reasoning in variants.items():
            given = [[] for _ in histories] if reasoning is None else reasoning[part]
            scores[name] = head.add_reasoning(logits, given).numpy()
        scores["no_reasoning"] = head.no_reasoning(logits).numpy()
        confidence[part] = top_mass(scores[first])
        return scores

    return rank_rows(test, [*variants, "no_reasoning"], score, head.n_items), confidence


def rank_baseline(ranker: Ranker, test: TestSet, name: str, n_items: int) -> Ranks:
    """Rank by one baseline."""
    return rank_rows(test, [name], lambda part: {name: ranker.scores(test.histories[part])}, n_items)[name]


def top_mass(log_probabilities: Floats) -> npt.NDArray[np.float64]:
    """Return the probability [B] that log-probabilities [B, N] give their ten best items together, in 0-1."""
    k = min(_TOP, log_probabilities.shape[1])
    best = -np.partition(-log_probabilities.astype(np.float64), k - 1, axis=1)[:, :k]
    return np.asarray(np.exp(best).sum(axis=1), dtype=np.float64)


def reliability(confidence: Floats, hits: Floats, bins: int = 10) -> pl.DataFrame:
    """Return per bin of equally many rows: `n`, mean `confidence` and mean observed `hit_rate`."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return pl.DataFrame(
        {
            "bin": list(range(len(parts))),
            "n": [len(part) for part in parts],
            "confidence": [float(confidence[part].mean()) for part in parts],
            "hit_rate": [float(hits[part].mean()) for part in parts],
        },
        schema=RELIABILITY,
    )


def calibration_error(table: pl.DataFrame) -> float | None:
    """Return the expected calibration error, 0-1: mean distance of confidence and hit rate, weighted by rows."""
    if table.is_empty():
        return None
    gap = np.abs(table["confidence"].to_numpy() - table["hit_rate"].to_numpy())
    return float(np.average(gap, weights=table["n"].to_numpy()))


def chunks(groups: int, n_items: int) -> Iterator[slice]:
    """Cut groups into slices whose scores fit in memory together."""
    step = min(_GROUPS, max(1, _CELLS // max(1, n_items)))
    for start in range(0, groups, step):
        yield slice(start, min(start + step, groups))


def _blank(n: int) -> Ranks:
    return Ranks(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64))
