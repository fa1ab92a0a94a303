"""Checkpoints of TRL's trainer without a pickle: optimizer, scheduler and random states as safetensors and JSON.

Where weights are sharded over several GPUs, torch writes its own sharded files instead; they go with the run's other
checkpoints when it ends (`rporec.align.checkpoints.finish`). Not here: which checkpoint is whole (`checkpoints`).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Trainer
from trl import GRPOTrainer

from rporec.align.checkpoints import disk_errors, drop, mark_whole
from rporec.files import read_json, write_json

_OPTIMIZER, _PLAN, _RANDOM = "optimizer.safetensors", "optimizer.json", "random_{}"
_PICKLED_ARGUMENTS = "training_args.bin"  # nothing reads them


class PlainCheckpoints(GRPOTrainer):
    """TRL's GRPO whose checkpoints hold no pickle, are marked when they are whole, and go when they cannot be."""

    def _save_checkpoint(self, model: object, trial: object) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            with disk_errors(folder):
                # Past GRPOTrainer's own: its model card asks for network and git, and is of no use in a checkpoint.
                Trainer._save_checkpoint(self, model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    mark_whole(folder)
        except OSError:
            drop(folder)  # a full disk has no room for half of one
            raise
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            (Path(output_dir or self.args.output_dir) / _PICKLED_ARGUMENTS).unlink(missing_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.args.should_save:
            save_optimizer(Path(output_dir), self.optimizer, self.lr_scheduler)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.is_fsdp_enabled or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
        else:
            load_optimizer(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _save_rng_state(self, output_dir: str) -> None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)  # another process may write the weights, and later
        save_random(folder / _RANDOM.format(self.args.process_index))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_random(Path(checkpoint) / _RANDOM.format(self.args.process_index))


def save_optimizer(
    folder: Path, optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler
) -> None:
    """Write what both need to go on; all state of the optimizer must be tensors, as AdamW's is."""
    state = optimizer.state_dict()
    tensors = {
        f"{number}/{name}": value.detach().clone().contiguous()
        for number, values in state["state"].items()
        for name, value in values.items()
    }
    save_file(tensors, folder / _OPTIMIZER)
    write_json(folder / _PLAN, {"groups": state["param_groups"], "scheduler": scheduler.state_dict()})


def load_optimizer(
    folder: Path, optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler
) -> None:
    """Put back what `save_optimizer` wrote."""
    plan: dict[str, Any] = read_json(folder / _PLAN)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(folder / _OPTIMIZER).items():
        number, name = key.split("/", maxsplit=1)
        state.setdefault(int(number), {})[name] = value
    groups = [{**group, "betas": tuple(group["betas"])} for group in plan["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    scheduler.load_state_dict(plan["scheduler"])


def save_random(path: Path) -> None:
    """Write the state of Python's, numpy's and torch's generators beside `path`, as .json and .safetensors."""
    version, words, gauss = random.getstate()
    numpy: dict[str, Any] = np.random.get_state(legacy=False)
    tensors = {"cpu": torch.random.get_rng_state(), "numpy": torch.from_numpy(numpy["state"]["key"].astype(np.int64))}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    save_file(tensors, path.with_suffix(".safetensors"))
    rest = {"position": int(numpy["state"]["pos"]), "has_gauss": numpy["has_gauss"], "gauss": numpy["gauss"]}
    write_json(path.with_suffix(".json"), {"python": [version, list(words), gauss], "numpy": rest})


def load_random(path: Path) -> None:
    """Put back what `save_random` wrote."""
    stored = read_json(path.with_suffix(".json"))
    version, words, gauss = stored["python"]
    random.setstate((version, tuple(words), gauss))
    with safe_open(path.with_suffix(".safetensors"), framework="pt") as tensors:
        rest = stored["numpy"]
        key = tensors.get_tensor("numpy").numpy().astype(np.uint32)
        np.random.set_state(("MT19937", key, rest["position"], rest["has_gauss"], rest["gauss"]))
        torch.random.set_rng_state(tensors.get_tensor("cpu"))
        if "cuda" in tensors.keys() and torch.cuda.is_available():  # noqa: SIM118 - not a mapping
            torch.cuda.set_rng_state(tensors.get_tensor("cuda"))
