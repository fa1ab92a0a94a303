"""Two trainers that do the same step of reinforcement learning: stock TRL, and ours. What benches of it share.

Stock is TRL's `GRPOTrainer` with the same configuration, batch, prompts, rewards and starting weights; it generates by
`generate` of transformers, and then goes on with the completions that ours wrote, so that both train on the same. Ours
is `rporec.align.trainer.Policy` as the stage align runs it. Not here: what is asked and told
(`infra.bench.align`, `infra.gpu`).
"""

from __future__ import annotations

import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import grpo_trainer

from infra.bench.align_world import Rewards, Sizes, make_prompts
from infra.bench.world import World
from rporec.align.settings import Setup, grpo_config
from rporec.align.trainer import Policy, row_order
from rporec.backbone.source import Writer

PARTS = ("generate", "score", "reference")
_OFF = 0.02  # noise on the policy's weights, in standard deviations: at the reference itself KL has no gradient


@dataclass(frozen=True)
class Machine:
    """Where both compute: `cpu` or `cuda`, and whether model passes run in bfloat16 (weights stay float32)."""

    device: str
    bf16: bool

    def precision(self) -> AbstractContextManager[object]:
        """Return the number format of a model pass; one pass each, else weights cast for one without gradient stay."""
        return torch.autocast(self.device, torch.bfloat16) if self.bf16 else nullcontext()

    def wait(self) -> None:
        """Let the device finish what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def name(self) -> str:
        """Return what the device is called."""
        return torch.cuda.get_device_name() if self.device == "cuda" else "cpu"

    def forget_peak(self) -> None:
        """Let the next `peak_mb` count from now (on a CPU it counts from the start of the process)."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak_mb(self) -> float:
        """Return the most memory that was held, MB (1024 x 1024 bytes)."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CPU = Machine("cpu", bf16=False)


class Clock:
    """A trainer that notes what its parts take, given prompts as token ids."""

    prompt_ids: list[list[int]]
    machine: Machine
    seconds: defaultdict[str, float]
    written: list[list[int]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.prompt_ids[int(place)] for place in prompts], None, {}

    def _generate_single_turn(self, *given: Any) -> tuple[list[list[int]], None]:  # noqa: ANN401 - TRL's
        with self.timed("generate"), self.machine.precision():
            self.written, nothing = super()._generate_single_turn(*given)  # type: ignore[misc]
        return self.written, nothing

    def _calculate_rewards(self, *given: Any) -> torch.Tensor:  # noqa: ANN401 - TRL's
        with self.timed("score"):
            found: torch.Tensor = super()._calculate_rewards(*given)  # type: ignore[misc]
        return found

    def _get_per_token_logps_and_entropies(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - TRL's
        with nullcontext() if torch.is_grad_enabled() else self.timed("reference"), self.machine.precision():
            return super()._get_per_token_logps_and_entropies(*given, **named)  # type: ignore[misc]

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of what is inside to those of a part."""
        self.machine.wait()
        started = time.perf_counter()
        yield
        self.machine.wait()
        self.seconds[part] += time.perf_counter() - started


class Ours(Clock, Policy):
    """The trainer of stage align."""


class Stock(Clock, GRPOTrainer):
    """TRL's own; writes, and then takes what ours wrote."""

    ours: Ours

    def _generate_single_turn(self, *given: Any) -> tuple[list[list[int]], None]:  # noqa: ANN401 - TRL's
        super()._generate_single_turn(*given)
        return self.ours.written, None


def make_both(
    world: World, writer: Writer, sizes: Sizes, folder: Path, machine: Machine = CPU
) -> dict[str, Ours | Stock]:
    """Return ours and stock, in the order in which they must take turns, with the same weights.

    Args:
        world: the values of the profile and the rows that prompts come from.
        writer: the backbone that both start from.
        sizes: of a step.
        folder: for the backbone and what the trainers write.
        machine: where they compute.
    """
    writer.save(folder / "backbone")
    params = world.params.align.model_copy(update={"prompts_per_step": sizes.prompts, "num_generations": sizes.samples})
    setup = Setup(folder / "backbone", folder, seed=world.params.run.seed,
                  max_completion_tokens=sizes.completion_tokens, device=machine.device)  # fmt: skip
    prompts = [(place, str(place)) for place in range(sizes.prompts)]
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
        trainer.prompt_ids, trainer.seconds = make_prompts(world, writer, sizes), defaultdict(float)
        trainer.machine = machine
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        trainer.create_optimizer()
        torch.manual_seed(world.params.run.seed)
        with torch.no_grad():
            for weight in trainer.model.parameters():
                weight += _OFF * weight.std(correction=0) * torch.randn_like(weight)
    return {"rporec": ours, "stock": stock}


def run_step(trainer: Ours | Stock) -> dict[str, torch.Tensor]:
    """Do one whole step; return the loss of each micro-batch (`loss`) and the gradient of each weight by name."""
    samples = trainer.num_generations
    rows = [row for row in trainer.train_dataset for _ in range(samples)]
    order = row_order(len(rows) // samples, samples, trainer.args.seed, int(trainer.state.global_step))
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
    trainer.machine.wait()
    started = time.perf_counter()
    run_step(trainer)
    trainer.machine.wait()
    whole = time.perf_counter() - started
    parts = {part: trainer.seconds[part] for part in PARTS}
    return {"step": whole, **parts, "update": whole - sum(parts.values())}


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each part over the rounds."""
    return {part: statistics.median(one[part] for one in rounds) for part in rounds[0]}
