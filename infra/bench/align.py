"""How long a step of reinforcement learning takes beside stock TRL: `make bench-align`. Prints JSON lines.

One step is: generate, score, reference, loss and gradients, optimizer, by stock TRL and by ours
(`infra.bench.align_pair`). The first step of both is compared (loss, every gradient) and not timed; then they
take turns.

Both get the entropies that a reward reads for nothing, though stock would need a pass more for them. Prompts hold 160
tokens and completions 48 (but for the few that a fresh model ends), so nothing is won here by padding less.

The floor is the number of operations of the matrix products that a step with shared prompts cannot do without, over the
rate at which this machine multiplies large matrices. `operations` are those of a stock step and of ours.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from infra.bench.align_pair import make_both, medians, run_step, timed_step
from infra.bench.align_work import matrix_rate, operations
from infra.bench.align_world import Sizes, make_writer
from infra.bench.world import World, arguments, make_world, tell
from infra.worktree import find_checkout

P, L, G = 160, 48, 8  # tokens of a prompt, tokens of a completion, completions of a prompt


def main() -> None:
    """Compare both on one step, time them in turns, tell."""
    parser = arguments(__doc__, "rounds")
    parser.add_argument("--prompts", type=int, default=16, help="prompts a step")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    disable_progress_bar()
    world = make_world(find_checkout(Path.cwd()), asked.set)
    with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
        bench(world, asked, Path(folder))


def bench(world: World, asked: argparse.Namespace, folder: Path) -> None:
    """Make both trainers, let them run, tell."""
    sizes = Sizes(asked.prompts, G, P, L)
    writer = make_writer(world, sizes)
    both = make_both(world, writer, sizes, folder)
    first = {name: run_step(trainer) for name, trainer in both.items()}
    about = sizes.told()
    size = sum(weight.numel() for weight in writer.model.parameters())
    tell("align, equality", {**differences(first["rporec"], first["stock"]), **about})
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in both}
    for _ in range(asked.rounds):
        for name, trainer in both.items():
            taken[name].append(timed_step(trainer))
    seconds = {name: medians(rounds) for name, rounds in taken.items()}
    work = {"rporec": operations(writer, sizes, shared=True)}
    work["stock"] = operations(writer, sizes, shared=False)
    for name, parts in seconds.items():
        told = {f"{part}_s": round(value, 3) for part, value in parts.items()}
        gigas = {f"{part}_gflop": round(value / 1e9, 1) for part, value in work[name].items()}
        tell(f"align, {name}", {**told, **gigas, "parameters": size, **about})
    rate = matrix_rate()
    floor = sum(work["rporec"].values()) / rate
    tell(
        "align, ratio",
        {
            "ratio": round(seconds["stock"]["step"] / seconds["rporec"]["step"], 2),
            "operations": round(sum(work["stock"].values()) / sum(work["rporec"].values()), 2),
            "matrix_gflop_per_s": round(rate / 1e9, 1), "floor_s": round(floor, 3),
            "over_floor": round(seconds["rporec"]["step"] / floor, 2),
        },
    )  # fmt: skip


def differences(ours: dict[str, torch.Tensor], stock: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return the largest relative differences of loss and gradients, and where the latter is (after clipping)."""
    assert ours.keys() == stock.keys()
    found = {name: max_relative_difference(ours[name], value) for name, value in stock.items()}
    loss = found.pop("loss")
    worst = max(found, key=lambda name: found[name])
    return {"loss_difference": loss, "gradient_difference": found[worst], "of": worst, "gradients": len(found)}


def max_relative_difference(ours: torch.Tensor, stock: torch.Tensor) -> float:
    """Return the largest absolute difference over the largest absolute value of stock's."""
    return float((ours - stock).abs().max() / stock.abs().max())


if __name__ == "__main__":
    main()
