"""How long a step of reinforcement learning takes beside stock TRL: `make bench-align`. Prints JSON lines.

One step is: generate, score, reference, loss and gradients, optimizer. Stock is TRL's `GRPOTrainer` with the same
configuration, batch, prompts, rewards and starting weights; it generates by `generate` of transformers, and then goes
on with the completions that ours wrote, so that both train on the same. Ours is `rporec.align.trainer.Policy` as the
stage align runs it. The first step of both is compared (loss, every gradient) and not timed; then they take turns.

Both get the entropies that a reward reads for nothing, though stock would need a pass more for them. Prompts hold 160
tokens and completions 48 (but for the few that a fresh model ends), so nothing is won here by padding less.

The floor is the number of operations of the matrix products that a step with shared prompts cannot do without, over the
rate at which this machine multiplies large matrices. `operations` are those of a stock step and of ours.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import grpo_trainer

from infra.bench_align_work import matrix_rate, operations
from infra.bench_align_world import G, L, P, Rewards, make_prompts, make_writer
from infra.bench_world import World, arguments, make_world, tell
from infra.worktree import find_checkout
from rporec.align.settings import Setup, grpo_config
from rporec.align.trainer import Policy, row_order
from rporec.backbone.source import Writer
from rporec.config import AlignParams

PARTS = ("generate", "score", "reference")
_OFF = 0.02  # noise on the policy's weights, in standard deviations: at the reference itself KL has no gradient


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
    writer = make_writer(world)
    params = world.params.align.model_copy(update={"prompts_per_step": asked.prompts, "num_generations": G})
    both = make_both(world, writer, params, folder)
    first = {name: run_step(trainer) for name, trainer in both.items()}
    about = {"prompts": asked.prompts, "samples": G, "prompt_tokens": P, "completion_tokens": L}
    size = sum(weight.numel() for weight in writer.model.parameters())
    tell("align, equality", {**differences(first["rporec"], first["stock"]), **about})
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in both}
    for _ in range(asked.rounds):
        for name, trainer in both.items():
            taken[name].append(timed_step(trainer))
    seconds = {name: medians(rounds) for name, rounds in taken.items()}
    work = {"rporec": operations(writer, asked.prompts, shared=True)}
    work["stock"] = operations(writer, asked.prompts, shared=False)
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


class Clock:
    """A trainer that notes what its parts take, given prompts as token ids."""

    prompt_ids: list[list[int]]
    seconds: defaultdict[str, float]
    written: list[list[int]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.prompt_ids[int(place)] for place in prompts], None, {}

    def _generate_single_turn(self, *given: Any) -> tuple[list[list[int]], None]:  # noqa: ANN401 - TRL's
        with self.timed("generate"):
            self.written, nothing = super()._generate_single_turn(*given)  # type: ignore[misc]
        return self.written, nothing

    def _calculate_rewards(self, *given: Any) -> torch.Tensor:  # noqa: ANN401 - TRL's
        with self.timed("score"):
            found: torch.Tensor = super()._calculate_rewards(*given)  # type: ignore[misc]
        return found

    def _get_per_token_logps_and_entropies(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - TRL's
        with nullcontext() if torch.is_grad_enabled() else self.timed("reference"):
            return super()._get_per_token_logps_and_entropies(*given, **named)  # type: ignore[misc]

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of what is inside to those of a part."""
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started


class Ours(Clock, Policy):
    """The trainer of stage align."""


class Stock(Clock, GRPOTrainer):
    """TRL's own; writes, and then takes what ours wrote."""

    ours: Ours

    def _generate_single_turn(self, *given: Any) -> tuple[list[list[int]], None]:  # noqa: ANN401 - TRL's
        super()._generate_single_turn(*given)
        return self.ours.written, None


def make_both(world: World, writer: Writer, params: AlignParams, folder: Path) -> dict[str, Ours | Stock]:
    """Return ours and stock, in the order in which they must take turns, with the same weights."""
    writer.save(folder / "backbone")
    setup = Setup(folder / "backbone", folder, seed=world.params.run.seed, max_completion_tokens=L, device="cpu")
    prompts = [(place, str(place)) for place in range(params.prompts_per_step)]
    vocabulary = len(writer.tokenizer)
    ours = Ours(params, setup, prompts, writer.tokenizer, Rewards(world, len(prompts), vocabulary))
    rewards = Rewards(world, len(prompts), vocabulary)

    def reward(completion_ids: Sequence[list[int]], group: Sequence[int], **_: object) -> list[float]:
        texts = [writer.decode(ids) for ids in completion_ids]
        return [one.reward for one in rewards.score(group, texts, [])]

    config: GRPOConfig = grpo_config(params, setup)
    data = Dataset.from_dict({"group": [place for place, _ in prompts], "prompt": [text for _, text in prompts]})
    stock = Stock(str(setup.backbone), reward_funcs=reward, args=config, train_dataset=data,
                  processing_class=writer.tokenizer)  # fmt: skip
    stock.remove_callback(PrinterCallback)
    stock.ours = ours
    for trainer in (ours, stock):
        trainer.prompt_ids, trainer.seconds = make_prompts(world, writer, len(prompts)), defaultdict(float)
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        trainer.create_optimizer()
        torch.manual_seed(world.params.run.seed)
        with torch.no_grad():
            for weight in trainer.model.parameters():
                weight += _OFF * weight.std(correction=0) * torch.randn_like(weight)
    return {"rporec": ours, "stock": stock}


def run_step(trainer: Ours | Stock) -> dict[str, torch.Tensor]:
    """Do one whole step; return the loss of each micro-batch (`loss`) and the gradient of each weight by name."""
    rows = [row for row in trainer.train_dataset for _ in range(G)]
    order = row_order(len(rows) // G, G, trainer.args.seed, int(trainer.state.global_step))
    with in_this_order(order):
        micro_batches = range(trainer.args.gradient_accumulation_steps)
        losses = [trainer.training_step(trainer.model, rows, None) for _ in micro_batches]
    trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    found = {name: weight.grad for name, weight in trainer.model.named_parameters()}
    trainer.optimizer.zero_grad()  # sets them to None, so that what was found stays
    trainer.state.global_step += 1
    return {"loss": torch.stack(losses), **found}


@contextmanager
def in_this_order(order: torch.Tensor) -> Iterator[None]:
    """Let TRL put rows into micro-batches in this order, as ours does, and not by chance."""
    by_chance = grpo_trainer.shuffle_sequence_dict
    grpo_trainer.shuffle_sequence_dict = lambda batch: {
        name: value[order] if isinstance(value, torch.Tensor) and value.ndim else value for name, value in batch.items()
    }
    try:
        yield
    finally:
        grpo_trainer.shuffle_sequence_dict = by_chance


def timed_step(trainer: Ours | Stock) -> dict[str, float]:
    """Return the seconds of a step and of its parts."""
    trainer.seconds.clear()
    started = time.perf_counter()
    run_step(trainer)
    whole = time.perf_counter() - started
    parts = {part: trainer.seconds[part] for part in PARTS}
    return {"step": whole, **parts, "update": whole - sum(parts.values())}


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


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each part over the rounds."""
    return {part: statistics.median(one[part] for one in rounds) for part in rounds[0]}


if __name__ == "__main__":
    main()
