"""How fast the history tower is fitted and rankers are judged: `make bench-rechead`. Prints JSON lines.

Fit: `rporec.rechead.train` against a plain SASRec of the same size written here as one would (torch's transformer
layers and dropout, every history a padded row of its own, full cross-entropy), in turns in one process, on the same
simulated rows. Both are counted in the same unit, positions: the items that are read as input when every group is a
row of its own, thus the sum of the lengths of all groups' histories (at most `sequence.history_length` each) times
the epochs. Padding is not counted, nor what packing saves. What each fit does around its epochs (packing, running
average, checkpoints) counts as part of its time.

Judging: ranks and all metrics of one ranker from given scores, and ten paired comparisons by the bootstrap.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.bench_world import THREADS, World, make_world, tell
from infra.worktree import find_checkout
from rporec.evaluation.compare import compare_columns, paired_bootstrap
from rporec.evaluation.metrics import metric_rows, summarise
from rporec.evaluation.scoring import TestSet, rank_rows
from rporec.rechead.examples import Examples
from rporec.rechead.tower import HIDDEN_FACTOR, TowerShape, pad
from rporec.rechead.train import Fit, refit_tower

_ROWS, _ITEMS, _USERS, _COMPARISONS = 4_500, 3_700, 2_000, 10


def main() -> None:
    """Measure all and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2, help="epochs of a fit")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the medians are told")
    parser.add_argument("--threads", type=int, default=THREADS, help="threads of torch")
    parser.add_argument("--set", default="", help="other values, as SET of make run")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    world = make_world(find_checkout(Path.cwd()), asked.set)
    for name, figures in training(world, asked.epochs, asked.rounds).items():
        tell(f"fit, {name}", figures)
    evaluate = world.params.evaluate
    tell("metrics of one ranker", judging(evaluate.cutoffs, asked.rounds))
    tell("ten comparisons", comparing(evaluate.resamples, 1 - evaluate.confidence, asked.rounds))


def training(world: World, epochs: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Return positions a second of both fits (medians over the rounds) and their ratio."""
    train = Examples.from_rows(world.parts["train"]).readable()
    head = world.params.rechead
    shape = TowerShape(
        n_items=world.catalogue.n, text_dim=head.text_dim, width=head.width, layers=head.layers, heads=head.heads,
        history_length=train.longest, dropout=head.dropout,
    )  # fmt: skip
    fit = Fit(shape, epochs, epochs, head.batch_size, head.learning_rate, head.weight_decay, world.params.run.seed)
    rng = np.random.default_rng(0)  # what the texts say does not change the work
    texts = F.normalize(torch.from_numpy(rng.standard_normal((shape.n_items, shape.text_dim), dtype=np.float32)))

    def ours() -> None:
        with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
            refit_tower(train, texts, fit, epochs, Path(folder))

    positions = epochs * sum(map(len, train.histories))
    seconds = in_turns({"rporec": ours, "plain": lambda: fit_plainly(train, texts, fit)}, rounds)
    about = {"groups": len(train), "rows": len(train.targets), "items": shape.n_items, "epochs": epochs}
    speeds = {name: positions / taken for name, taken in seconds.items()}
    lines: dict[str, dict[str, Any]] = {
        name: {"positions_per_s": round(speed), "positions": positions, "seconds": round(seconds[name], 2), **about}
        for name, speed in speeds.items()
    }
    return {**lines, "ratio": {"ratio": round(speeds["rporec"] / speeds["plain"], 2)}}


class PlainSASRec(nn.Module):
    """SASRec with texts as one would write it: learned positions, torch's layers; sizes as the tower's."""

    texts: Tensor

    def __init__(self, shape: TowerShape, texts: Tensor) -> None:
        super().__init__()
        self.ids = nn.Embedding(shape.n_items, shape.width)
        self.project = nn.Linear(shape.text_dim, shape.width, bias=False)
        self.positions = nn.Embedding(shape.history_length, shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        layer = nn.TransformerEncoderLayer(
            shape.width, shape.heads, HIDDEN_FACTOR * shape.width, shape.dropout, F.gelu, batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(layer, shape.layers, nn.LayerNorm(shape.width), enable_nested_tensor=False)
        self.register_buffer("texts", texts)

    def forward(self, history: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores [B, N] of what follows histories [B, L], left-aligned, of these lengths [B]."""
        vectors = self.ids.weight + self.project(self.texts)  # [N, D]
        steps = torch.arange(history.shape[1])
        x = self.dropout(vectors[history] + self.positions(steps))  # [B, L, D]
        later = steps[:, None] < steps  # [L, L]
        read = self.encoder(x, mask=later, src_key_padding_mask=steps >= lengths[:, None])  # [B, L, D]
        scores: Tensor = read[torch.arange(len(history)), lengths - 1] @ vectors.T
        return scores


def fit_plainly(train: Examples, texts: Tensor, fit: Fit) -> None:
    """Train `PlainSASRec` for `fit.epochs`, one row a history and target, in random batches."""
    torch.manual_seed(fit.seed)
    model = PlainSASRec(fit.shape, texts).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, fused=True)
    targets = torch.from_numpy(train.targets)
    for _ in range(fit.epochs):
        for rows in torch.randperm(len(targets)).split(fit.batch_size):
            history, lengths = pad([train.histories[train.owner[row]] for row in rows.tolist()])
            loss = F.cross_entropy(model(history, lengths), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def judging(cutoffs: Sequence[int], rounds: int) -> dict[str, Any]:
    """Return the seconds from scores to the means of all metrics."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((_ROWS, _ITEMS), dtype=np.float32)
    targets = rng.integers(_ITEMS, size=_ROWS)
    places = np.arange(_ROWS)
    test = TestSet(places.tolist(), [[] for _ in places], [""] * _ROWS, places, targets)

    def judge() -> None:
        ranks = rank_rows(test, ["given"], lambda part: {"given": scores[part]}, _ITEMS)["given"]
        summarise(metric_rows(ranks, cutoffs))

    return {"seconds": round(in_turns({"judge": judge}, rounds)["judge"], 3), "rows": _ROWS, "items": _ITEMS}


def comparing(resamples: int, alpha: float, rounds: int) -> dict[str, Any]:
    """Return the seconds of ten comparisons: side by side, as stage evaluate does, and one by one."""
    rng = np.random.default_rng(0)
    users = rng.integers(_USERS, size=_ROWS)
    table = rng.standard_normal((_ROWS, _COMPARISONS))
    zeros = np.zeros(_ROWS)

    def one_by_one() -> None:
        for column in table.T:
            paired_bootstrap(column, zeros, users, resamples, alpha, 0)

    seconds = in_turns(
        {"together": lambda: compare_columns(table, users, resamples, alpha, 0), "one_by_one": one_by_one}, rounds
    )
    told = {f"{name}_s": round(taken, 3) for name, taken in seconds.items()}
    return {**told, "rows": _ROWS, "users": _USERS, "resamples": resamples}


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each way; the first turn of each, which is slow, is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    main()
