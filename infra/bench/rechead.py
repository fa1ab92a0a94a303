"""How fast the history tower is fitted and rankers are judged: `make bench-rechead`. Prints JSON lines.

Fit: `rporec.rechead.train` against two plain SASRecs of the same size, in turns in one process, on the same simulated
rows, with torch's transformer layers and dropout and full cross-entropy: `by_row` reads every history as a padded row
of its own, as rows of (history, target) suggest; `by_user` reads a user's life in windows and learns at every place of
a window, as published (Kang, McAuley, ICDM 2018). All are counted by the targets that they learn from. `positions` are
the items read as input when every group is a row of its own: the lengths of all groups' histories times the epochs,
without padding; `computed` are those that are left with packing. What a fit does around its epochs (packing, running
average, checkpoints) counts as part of its time.

Then the fit of every baseline beside the Rechead's head (`infra.bench.baselines`), and how fast rankers are judged from
their scores on (`infra.bench.judge`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.bench.baselines import fitting
from infra.bench.judge import comparing, judging, largest
from infra.bench.world import World, arguments, in_turns, make_world, tell
from infra.worktree import find_checkout
from rporec.rechead.examples import Examples
from rporec.rechead.packing import pack
from rporec.rechead.tower import HIDDEN_FACTOR, TowerShape, pad
from rporec.rechead.train import Fit, refit_tower


def main() -> None:
    """Measure all and print what was found."""
    parser = arguments(__doc__, "rounds")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of a fit")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    world = make_world(find_checkout(Path.cwd()), asked.set)
    train, texts, fit = given(world, asked.epochs)
    for name, figures in training(world, train, texts, fit, asked.rounds).items():
        tell(f"fit, {name}", figures)
    tell("fit, baselines", fitting(world, texts, fit))
    evaluate = world.params.evaluate
    for name, figures in judging(evaluate, asked.rounds).items():
        tell(name, figures)
    tell("ten comparisons", comparing(evaluate.resamples, 1 - evaluate.confidence, asked.rounds))
    tell("the largest comparison", largest(asked.rounds))


def given(world: World, epochs: int) -> tuple[Examples, Tensor, Fit]:
    """Return the training rows that have a history, text vectors [N, text_dim], and how the head's tower is fitted."""
    train = Examples.from_rows(world.parts["train"]).readable()
    head = world.params.rechead
    shape = TowerShape(
        n_items=world.catalogue.n, text_dim=head.text_dim, width=head.width, layers=head.layers, heads=head.heads,
        history_length=train.longest, dropout=head.dropout,
    )  # fmt: skip
    fit = Fit(shape, epochs, epochs, head.batch_size, head.learning_rate, head.weight_decay, world.params.run.seed)
    rng = np.random.default_rng(0)  # what the texts say does not change the work
    texts = F.normalize(torch.from_numpy(rng.standard_normal((shape.n_items, shape.text_dim), dtype=np.float32)))
    return train, texts, fit


def training(world: World, train: Examples, texts: Tensor, fit: Fit, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the targets a second of the fits (medians over the rounds) and the ratios of ours to the plain ones.

    Args:
        world: whose rows `train` are.
        train: as `given`.
        texts: [N, text_dim].
        fit: of all towers.
        rounds: how often.
    """
    epochs, shape = fit.epochs, fit.shape

    def ours() -> None:
        with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
            refit_tower(train, texts, fit, epochs, Path(folder))

    positions = epochs * sum(map(len, train.histories))
    computed = epochs * sum(map(len, pack(train).carriers))  # a history that begins another is read inside it
    windows = user_windows(world.parts["train"], shape.history_length)
    ways: dict[str, Callable[[], object]] = {
        "rporec": ours,
        "by_row": lambda: fit_by_row(train, texts, fit),
        "by_user": lambda: fit_by_user(windows, texts, fit),
    }
    seconds = in_turns(ways, rounds)
    rows = len(train.targets)
    targets = {"rporec": epochs * rows, "by_row": epochs * rows, "by_user": epochs * sum(map(len, windows))}
    targets["by_user"] -= epochs * len(windows)  # the first item of a window is no target
    speeds = {name: targets[name] / taken for name, taken in seconds.items()}
    about = {"groups": len(train), "rows": rows, "items": shape.n_items, "epochs": epochs}
    lines: dict[str, dict[str, Any]] = {
        name: {"targets_per_s": round(speed), "targets": targets[name], "seconds": round(seconds[name], 2), **about}
        for name, speed in speeds.items()
    }
    taken = seconds["rporec"]
    lines["rporec"] |= {"positions_per_s": round(positions / taken), "positions": positions}
    lines["rporec"] |= {"computed_per_s": round(computed / taken), "computed": computed}
    ratios = {f"to_{name}": round(speeds["rporec"] / speeds[name], 2) for name in ("by_row", "by_user")}
    return {**lines, "ratios": ratios}


def user_windows(rows: pl.DataFrame, length: int) -> list[np.ndarray]:
    """Return every user's life, oldest item first, in windows of at most `length` + 1 items that share their ends."""
    windows = []
    for _, own in rows.sort("group", "row_id").group_by("user_id", maintain_order=True):
        life = np.array([*own["history"][0], *own["target"]], dtype=np.int64)
        windows += [life[start : start + length + 1] for start in range(0, len(life) - 1, length)]
    return windows


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

    def forward(self, history: Tensor, lengths: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
        """Return the scores [p, N] of what follows at some places of histories.

        Args:
            history: [B, L], left-aligned.
            lengths: [B].
            places: [p] rows and [p] steps.
        """
        vectors = self.ids.weight + self.project(self.texts)  # [N, D]
        steps = torch.arange(history.shape[1])
        x = self.dropout(vectors[history] + self.positions(steps))  # [B, L, D]
        later = steps[:, None] < steps  # [L, L]
        read = self.encoder(x, mask=later, src_key_padding_mask=steps >= lengths[:, None])  # [B, L, D]
        scores: Tensor = read[places] @ vectors.T
        return scores


def fit_by_row(train: Examples, texts: Tensor, fit: Fit) -> None:
    """Train `PlainSASRec` for `fit.epochs`, one row a history and target, in random batches."""
    targets = torch.from_numpy(train.targets)

    def loss_of(model: PlainSASRec, rows: Tensor) -> Tensor:
        history, lengths = pad([train.histories[train.owner[row]] for row in rows.tolist()])
        return F.cross_entropy(model(history, lengths, (torch.arange(len(rows)), lengths - 1)), targets[rows])

    _fit(PlainSASRec(fit.shape, texts), loss_of, (len(targets), fit.batch_size), fit)


def fit_by_user(windows: list[np.ndarray], texts: Tensor, fit: Fit) -> None:
    """Train `PlainSASRec` for `fit.epochs` on windows of users' lives, about a batch of targets a step."""
    a_window = sum(map(len, windows)) / len(windows) - 1  # targets, mean

    def loss_of(model: PlainSASRec, rows: Tensor) -> Tensor:
        items, lengths = pad([windows[row] for row in rows.tolist()])
        lengths = lengths - 1
        places = (torch.arange(items.shape[1] - 1) < lengths[:, None]).nonzero(as_tuple=True)
        return F.cross_entropy(model(items[:, :-1], lengths, places), items[:, 1:][places])

    _fit(PlainSASRec(fit.shape, texts), loss_of, (len(windows), max(1, round(fit.batch_size / a_window))), fit)


def _fit(model: PlainSASRec, loss_of: Callable[[PlainSASRec, Tensor], Tensor], cut: tuple[int, int], fit: Fit) -> None:
    """Train on `cut` = (things to learn from, things a batch) for `fit.epochs`."""
    torch.manual_seed(fit.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, fused=True)
    model.train()
    for _ in range(fit.epochs):
        for rows in torch.randperm(cut[0]).split(cut[1]):
            loss = loss_of(model, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
