"""Speed of alignment on one GPU, in under ten minutes, without a network: `python -m infra.gpu.bench`, JSON lines.

A step of reinforcement learning by stock TRL and by ours (`infra.bench.align_pair`) with a fresh embedded backbone of
more than 100 million parameters, bfloat16 passes over float32 weights, and prompts of 1,024 tokens with 8 completions
of 256. Nothing is read but this folder: rows are simulated, the backbone is made on the spot, no hub is asked.

The folder to carry holds the repository's tracked files and, where the machine lacks them, the wheels of some packages:
docs/gpu.md has the commands. `--small --device cpu` runs the same code in seconds without a GPU, for no figures.

Lines: device, tokens a second generated (stock: `generate` of transformers) and trained on (all prompt and completion
tokens of all rows, over the seconds of loss, gradients and optimizer), seconds by part, peak memory; then the ratios.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from infra.bench.align_pair import Machine, Ours, Stock, make_both, medians, run_step, timed_step
from infra.bench.align_world import Sizes, make_writer
from infra.bench.world import World, arguments, make_world, tell
from rporec.backbone.device import require_device
from steps.stage import guarded

SIZES = Sizes(prompts=16, samples=8, prompt_tokens=1024, completion_tokens=256)
MODEL = (
    "backbone.width=768 backbone.layers=14 backbone.heads=12 backbone.vocab_size=16384 align.micro_batch=32 "
    "backbone.max_prompt_tokens=1024 backbone.max_completion_tokens=256"
)
SMALL_SIZES = Sizes(prompts=2, samples=4, prompt_tokens=48, completion_tokens=8)
SMALL_MODEL = (
    "ingest.market.users=400 ingest.market.items=40 ingest.market.days=60 backbone.width=32 backbone.layers=1 "
    "backbone.heads=2 backbone.vocab_size=400 rechead.width=16 rechead.text_dim=16 align.micro_batch=4"
)
FOLDER = Path(__file__).resolve().parents[2]
_SECONDS = 420.0  # after which no further round begins


def main() -> None:
    """Make both trainers, let them take turns, tell."""
    began = time.monotonic()
    parser = arguments(__doc__, "rounds")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where models run")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the model passes")
    parser.add_argument("--small", action="store_true", help="toy sizes, to see that it runs")
    asked = parser.parse_args()
    require_device(asked.device)
    torch.set_num_threads(asked.threads)
    disable_progress_bar()
    sizes, model = (SMALL_SIZES, SMALL_MODEL) if asked.small else (SIZES, MODEL)
    world = make_world(FOLDER, f"{model} {asked.set}")
    with tempfile.TemporaryDirectory(prefix="rporec-bench-") as folder:
        bench(world, sizes, asked, Path(folder), began)


def bench(world: World, sizes: Sizes, asked: argparse.Namespace, folder: Path, began: float) -> None:
    """Time both in turns and tell.

    Args:
        world: the simulated rows and the values of the backbone.
        sizes: of a step.
        asked: the command line.
        folder: for what the trainers write.
        began: when the command began, seconds of the monotonic clock.
    """
    machine = Machine(asked.device, bf16=asked.dtype == "bfloat16")
    writer = make_writer(world, sizes)
    size = sum(weight.numel() for weight in writer.model.parameters())
    about = {"device": machine.name(), "dtype": asked.dtype, "parameters": size, **sizes.told()}
    both = make_both(world, writer, sizes, folder, machine)
    for trainer in both.values():  # the first step of anything is slow
        run_step(trainer)
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in both}
    while len(taken["stock"]) < asked.rounds and (not taken["stock"] or time.monotonic() - began < _SECONDS):
        for name, trainer in both.items():
            taken[name].append(measured(trainer, sizes))
    found = {name: medians(rounds) for name, rounds in taken.items()}
    for name, figures in found.items():
        tell(f"gpu, {name}", {**shown(figures), "rounds": len(taken[name]), **about})
    ratios = {
        f"{part}_ratio": found["stock"][f"{part}_s"] / found["rporec"][f"{part}_s"] for part in ("step", "update")
    }
    written = found["rporec"]["generated_tokens_per_s"] / found["stock"]["generated_tokens_per_s"]
    tell("gpu, ratio", {**shown({**ratios, "generate_ratio": written}), "device": machine.name()})


def measured(trainer: Ours | Stock, sizes: Sizes) -> dict[str, float]:
    """Return seconds by part, tokens a second and peak memory of one step."""
    trainer.machine.forget_peak()
    seconds = timed_step(trainer)
    tokens = sum(len(one) for one in trainer.written)
    rows = sizes.prompts * sizes.samples
    return {
        **{f"{part}_s": value for part, value in seconds.items()},
        "generated_tokens_per_s": tokens / seconds["generate"],
        "trained_tokens_per_s": (rows * sizes.prompt_tokens + tokens) / seconds["update"],
        "peak_mb": trainer.machine.peak_mb(),
    }


def shown(figures: Mapping[str, float]) -> dict[str, Any]:
    """Return figures rounded for a line."""
    return {name: round(value, 3 if value < 100 else 0) for name, value in figures.items()}


if __name__ == "__main__":
    guarded(main)
