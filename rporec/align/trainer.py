"""Reinforcement learning of the policy: our parameters mapped to TRL's GRPO, our generator and reward put in.

`GRPOTrainer` is subclassed only where a method truly changes: prompts are tokenised as the writer does, completions
come from `rporec.backbone.generate` and their log-probabilities from `passes` (each prompt computed once for its G
completions), groups are kept whole and ordered by the step number and not by a random state, and a checkpoint is
marked when it is whole. Loss, clipping, KL and the entropy mask are TRL's own. Not here: the reward (`rewards`,
`scorer`) and what is watched (`watch`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback, Trainer
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from rporec.align import passes
from rporec.align.checkpoints import mark_whole
from rporec.align.scorer import RewardScorer, Scored, thought_entropies
from rporec.backbone.generate import Sampling, generate_ids
from rporec.backbone.shared import can_share
from rporec.backbone.source import Writer
from rporec.config import AlignParams

log = logging.getLogger(__name__)
_KEPT_CHECKPOINTS = 2  # the newest may be half-written when the process dies, the one before it is whole


@dataclass(frozen=True)
class Setup:
    """What a run needs beside its parameters.

    Args:
        backbone: folder of the backbone: the policy starts there, and TRL loads the KL reference from it.
        work: folder for checkpoints, kept over a kill.
        seed: root of all randomness.
        max_completion_tokens: L, tokens.
        device: `cpu` or `cuda`.
    """

    backbone: Path
    work: Path
    seed: int
    max_completion_tokens: int
    device: str


@dataclass(frozen=True)
class Rollouts:
    """One generation batch as it was scored: B*G rows, the G completions of a prompt side by side.

    Args:
        step: optimizer steps done before this batch was sampled.
        groups, samples: the prompt's group and the completion's number below G, per row.
        prompts, completions: texts.
        scored: reward and terms per row.
        advantages: per row.
        lengths: generated tokens per row.
    """

    step: int
    groups: list[int]
    samples: list[int]
    prompts: list[str]
    completions: list[str]
    scored: list[Scored]
    advantages: list[float]
    lengths: list[int]


def grpo_config(params: AlignParams, setup: Setup) -> GRPOConfig:
    """Map our parameters to TRL's; every trap of design section 10 is set here, once."""
    batch = params.prompts_per_step * params.num_generations
    micro = min(params.micro_batch, batch)
    config = GRPOConfig(
        output_dir=str(setup.work / "checkpoints"),
        max_steps=params.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        num_generations=params.num_generations,
        max_completion_length=setup.max_completion_tokens,
        temperature=params.temperature,
        top_k=0,
        learning_rate=params.learning_rate,
        beta=params.beta,
        epsilon=params.epsilon,
        loss_type=params.loss_type,
        scale_rewards=params.scale_rewards,
        top_entropy_quantile=params.top_entropy_quantile,
        mask_truncated_completions=False,  # with no completion that ends it gives a silent zero loss
        disable_dropout=True,
        gradient_checkpointing=False,
        use_cpu=setup.device == "cpu",
        bf16=False,
        fp16=False,
        optim="adamw_torch",
        shuffle_dataset=False,  # `prompt_order` is the order; TRL's sampler would restart it on resume
        seed=setup.seed,
        data_seed=setup.seed,
        save_strategy="steps",
        save_steps=params.checkpoint_every,
        save_total_limit=_KEPT_CHECKPOINTS,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        model_init_kwargs={"dtype": "float32"},
    )
    config._n_gpu = min(config.n_gpu, 1)  # with more, the trainer would split batches over copies of the policy
    return config


def row_order(prompts: int, generations: int, seed: int, step: int) -> torch.Tensor:
    """Return the order of a step's rows, groups in any order but whole, `prompts x generations`."""
    drawn = np.random.default_rng((seed, step)).permutation(prompts)
    return torch.from_numpy(drawn[:, None] * generations + np.arange(generations)).flatten()


def prompt_order(n_prompts: int, params: AlignParams, seed: int) -> list[int]:
    """Return the prompt numbers of all steps in order, `steps x prompts_per_step`: one permutation after another."""
    wanted = params.steps * params.prompts_per_step
    rounds = -(-wanted // n_prompts)
    drawn = [np.random.default_rng((seed, r)).permutation(n_prompts) for r in range(rounds)]
    return [int(i) for i in np.concatenate(drawn)[:wanted]]


class Policy(GRPOTrainer):
    """TRL's GRPO with our generator and reward; starts at the backbone in `setup`.

    Args:
        params, setup: see there.
        prompts: (group, prompt) in the order of the steps (`prompt_order`).
        tokenizer: the backbone's.
        scorer: the frozen reward.
    """

    def __init__(
        self,
        params: AlignParams,
        setup: Setup,
        prompts: Sequence[tuple[int, str]],
        tokenizer: PreTrainedTokenizerBase,
        scorer: RewardScorer,
    ) -> None:
        self.setup, self.scorer = setup, scorer
        self.listeners: list[Callable[[Rollouts], None]] = []
        self.reads_entropy = params.weights.entropy > 0
        self.batch_groups: list[int] = []
        self.batch_entropies: list[list[float]] = []
        self.batch_scored: list[Scored] = []
        super().__init__(
            model=str(setup.backbone),
            reward_funcs=self.reward,
            args=grpo_config(params, setup),
            train_dataset=Dataset.from_dict(
                {"group": [group for group, _ in prompts], "prompt": [prompt for _, prompt in prompts]}
            ),
            processing_class=tokenizer,
        )
        self.remove_callback(PrinterCallback)  # `rporec.progress` speaks for us
        self.writer = Writer(self.model, tokenizer)

    def reward(self, completion_ids: Sequence[list[int]], group: Sequence[int], **_: object) -> list[float]:
        """Return the reward of each completion (TRL's reward callable): depends on no other row."""
        texts = [self.writer.decode(ids) for ids in completion_ids]
        self.batch_scored = self.scorer.score(group, texts, self.batch_entropies)
        return [scored.reward for scored in self.batch_scored]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.writer.encode(prompt) for prompt in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], _images: object, _fields: object, num_generations: int, *_: object
    ) -> tuple[list[list[int]], None]:
        """Sample the G completions of each prompt (rows come G times repeated), and note their token entropies."""
        step = int(self.state.global_step)
        settings = Sampling(
            num_samples=num_generations,
            temperature=self.temperature,
            max_new_tokens=self.max_completion_length,
            batch_size=len(prompt_ids),
            seed=self.setup.seed * 1_000_003 + step,
            entropies=self.reads_entropy,
        )
        groups = self.batch_groups[::num_generations]
        sampled = generate_ids(self.model, prompt_ids[::num_generations], groups, self.writer.eos_id, settings)
        ids = [one.ids for samples in sampled for one in samples]
        self.batch_entropies = [
            thought_entropies(self.writer, one.ids, one.entropies) if self.reads_entropy else []
            for samples in sampled
            for one in samples
        ]
        return ids, None

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **others: Any,  # noqa: ANN401 - images and the like, which our prompts do not hold
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Run each prompt once for its completions, where the model's attention allows it."""
        inner = self.accelerator.unwrap_model(model)
        if not can_share(inner):
            found: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None] = (
                super()._get_per_token_logps_and_entropies(
                    model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others
                )
            )
            return found
        cut = input_ids.shape[1] - logits_to_keep
        rows = passes.Rows(input_ids[:, :cut], attention_mask[:, :cut], input_ids[:, cut:], attention_mask[:, cut:])
        with self.accelerator.autocast():
            done = [
                passes.run(model, inner, rows.part(part), self.temperature)
                for part in rows.cut(batch_size or len(input_ids))
            ]
        entropies = [one.entropies for one in done if one.entropies is not None] if compute_entropy else []
        return torch.cat([one.logprobs for one in done]), torch.cat(entropies) if entropies else None, None

    def _prepare_inputs(self, generation_batch: Any) -> Any:  # noqa: ANN401 - TRL's
        """As TRL does, but the rows of a group stay together, in an order that depends on (seed, step) alone."""
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        parts = self.args.steps_per_generation
        if self._step % (parts * self.num_iterations) == 0 or self._buffered_inputs is None:
            step, groups = int(self.state.global_step), len(generation_batch) // self.num_generations
            order = row_order(groups, self.num_generations, self.setup.seed, step)
            batch = self._generate_and_score_completions(generation_batch)
            moved = {
                name: value[order.to(value.device)] if isinstance(value, torch.Tensor) and value.ndim else value
                for name, value in batch.items()
            }
            self._buffered_inputs: list[dict[str, Any]] | None = split_tensor_dict(moved, parts)
        return self._buffered_inputs[self._step % parts]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        step = int(self.state.global_step)
        self.batch_groups = [int(row["group"]) for row in inputs]
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        lengths = output["completion_mask"].sum(dim=1).tolist()
        ids = [row[:n].tolist() for row, n in zip(output["completion_ids"].cpu(), lengths, strict=True)]
        rollouts = Rollouts(
            step=step,
            groups=self.batch_groups,
            samples=[row % self.num_generations for row in range(len(inputs))],
            prompts=[row["prompt"] for row in inputs],
            completions=[self.writer.decode(one) for one in ids],
            scored=self.batch_scored,
            advantages=output["advantages"].tolist(),
            lengths=lengths,
        )
        for listener in self.listeners:
            listener(rollouts)
        return output

    def _save_checkpoint(self, model: object, trial: object) -> None:
        # Past GRPOTrainer's own: its model card asks for network and git, and is of no use in a checkpoint.
        Trainer._save_checkpoint(self, model, trial)
        mark_whole(self.setup.work / "checkpoints" / f"checkpoint-{self.state.global_step}")
