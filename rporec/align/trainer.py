"""Reinforcement learning of the policy: our parameters mapped to TRL's GRPO, our generator and reward put in.

`GRPOTrainer` is subclassed only where a method truly changes: prompts are tokenised as the writer does, completions
come from `rporec.backbone.generate` (or a vLLM server) and their log-probabilities from `passes` (each prompt computed
once for its G completions), groups are kept whole and ordered by the step number and not by a random state, and those
without variance may be drawn again or left out (`groups`). Loss, clipping, KL and the entropy mask are TRL's own. Not
here: the mapping of parameters (`settings`), checkpoints (`plain`), the reward (`scorer`), what is watched (`watch`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.utils import split_tensor_dict

from rporec.align import groups, passes, sharded
from rporec.align.checkpoints import save_policy
from rporec.align.groups import Draw
from rporec.align.plain import PlainCheckpoints
from rporec.align.rollouts import Rollouts
from rporec.align.scorer import RewardScorer, Scored, thought_entropies
from rporec.align.settings import Setup, grpo_config, peft_config
from rporec.backbone.generate import Sampling, generate_ids
from rporec.backbone.lora import merged_copy, plain
from rporec.backbone.randomness import keyed
from rporec.backbone.shared import can_share
from rporec.backbone.source import Writer, load_writer
from rporec.config import AlignParams


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


class Policy(PlainCheckpoints):
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
        self.params, self.setup, self.scorer = params, setup, scorer
        self.listeners: list[Callable[[Rollouts], None]] = []
        self.reads_entropy = params.weights.entropy > 0
        self.batch_groups: list[int] = []
        self.batch_entropies: list[list[float]] = []
        self.batch_scored: list[Scored] = []
        self.batch_flat: list[bool] = []  # of groups, at their first draw; filled where they may be drawn again
        torch.manual_seed(setup.seed)  # fresh adapters are the same after a kill
        super().__init__(
            model=str(setup.backbone),
            reward_funcs=self.reward,
            args=grpo_config(params, setup),
            train_dataset=Dataset.from_dict(
                {"group": [group for group, _ in prompts], "prompt": [prompt for _, prompt in prompts]}
            ),
            processing_class=tokenizer,
            peft_config=peft_config(params),
        )
        self.remove_callback(PrinterCallback)  # `rporec.progress` speaks for us
        self.writer = Writer(plain(self.model), tokenizer)

    def reward(self, completion_ids: Sequence[list[int]], group: Sequence[int], **_: object) -> list[float]:
        """Return the reward of each completion (TRL's reward callable): depends on no other row."""
        if not self.batch_scored:
            self.batch_scored = self._score(group, completion_ids, self.batch_entropies)
        return [scored.reward for scored in self.batch_scored]

    def keep(self) -> None:
        """Save the policy as it stands as the best so far: a plain model, adapters merged."""
        weights = sharded.gathered(self.model_wrapped, self.accelerator) if self.is_fsdp_enabled else None
        if not self.accelerator.is_main_process:
            return
        model = self.writer.model
        if self.params.lora_rank:
            fresh = load_writer(self.setup.backbone).model
            model = merged_copy(self.model, fresh, self.params.lora_rank)
        save_policy(model, self.writer.tokenizer, self.setup.best, weights)

    def _score(self, owners: Sequence[int], ids: Sequence[list[int]], entropies: Sequence[list[float]]) -> list[Scored]:
        return self.scorer.score(owners, [self.writer.decode(one) for one in ids], entropies)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.writer.encode(prompt) for prompt in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], _images: object, _fields: object, num_generations: int, *_: object
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """Sample the G completions of each prompt (rows come G times repeated), and note their token entropies."""
        if self.use_vllm:
            ids, logprobs = super()._generate_single_turn(prompt_ids, None, {}, num_generations)
            self.batch_entropies = self._thoughts(ids, self._entropies(prompt_ids, ids))
            return ids, logprobs
        prompts, owners = prompt_ids[::num_generations], self.batch_groups[::num_generations]

        def sample(places: Sequence[int], attempt: int) -> list[list[Draw]]:
            return self._sample([prompts[i] for i in places], [owners[i] for i in places], attempt)

        with sharded.whole(self.model):
            if self.params.zero_variance == "resample":
                draws, scored, self.batch_flat = groups.sample_again(
                    len(prompts), self.params.resample_tries, sample,
                    lambda places, new: self._score(
                        [owners[i] for i in places], [one.ids for one in new], [one.entropies for one in new]
                    ),
                )  # fmt: skip
                self.batch_scored = [one for group in scored for one in group]
            else:
                draws = sample(range(len(prompts)), 0)
        rows = [one for group in draws for one in group]
        self.batch_entropies = [one.entropies for one in rows]
        return [one.ids for one in rows], None

    def _sample(self, prompts: list[list[int]], owners: list[int], attempt: int) -> list[list[Draw]]:
        """Draw G completions of each prompt; which ones depends on seed, step, try, group and number alone."""
        seed = self.setup.seed * 1_000_003 + int(self.state.global_step)
        settings = Sampling(
            num_samples=self.num_generations,
            temperature=self.temperature,
            max_new_tokens=self.max_completion_length,
            batch_size=len(prompts) * self.num_generations,
            seed=int(keyed(seed, attempt)[0]) if attempt else seed,
            entropies=self.reads_entropy,
        )
        sampled = generate_ids(self.writer.model, prompts, owners, self.writer.end_ids, settings)
        rows = [one for samples in sampled for one in samples]
        entropies = iter(self._thoughts([one.ids for one in rows], [one.entropies for one in rows]))
        return [[Draw(one.ids, next(entropies)) for one in samples] for samples in sampled]

    def _thoughts(self, ids: list[list[int]], entropies: list[list[float]]) -> list[list[float]]:
        if not self.reads_entropy:
            return [[] for _ in ids]
        return [thought_entropies(self.writer, one, values) for one, values in zip(ids, entropies, strict=True)]

    @torch.no_grad()
    def _entropies(self, prompt_ids: list[list[int]], ids: list[list[int]]) -> list[list[float]]:
        """Return the entropies of tokens that a server sampled, by a pass of the policy."""
        if not self.reads_entropy:
            return [[] for _ in ids]
        rows = passes.Rows.of(prompt_ids, ids, self.accelerator.device)
        inputs = torch.cat([rows.prompts, rows.completions], dim=1)
        mask = torch.cat([rows.prompt_mask, rows.completion_mask], dim=1)
        width, most = rows.completions.shape[1], self.args.per_device_train_batch_size
        _, found, _ = self._get_per_token_logps_and_entropies(
            self.model, inputs, mask, width, most, compute_entropy=True
        )
        assert found is not None, "the vocabulary is scored in tiles that give entropies"
        return [values[: len(one)].tolist() for values, one in zip(found, ids, strict=True)]

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
        inner = plain(self.accelerator.unwrap_model(model))
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
            step, count = int(self.state.global_step), len(generation_batch) // self.num_generations
            order = row_order(count, self.num_generations, self.setup.seed, step)
            batch = groups.reorder(self._generate_and_score_completions(generation_batch), order)
            kept = batch.pop("kept", None)
            self._buffered_inputs: list[dict[str, Any]] | None = (
                split_tensor_dict(batch, parts) if kept is None else self._without(batch, kept, parts)
            )
        return self._buffered_inputs[self._step % parts]

    def _without(self, batch: dict[str, Any], kept: torch.Tensor, parts: int) -> list[dict[str, Any]]:
        """Cut the batch into micro-batches without the rows that are not kept."""
        known = batch["completion_mask"] * kept[:, None]
        rows, batch["num_items_in_batch"] = (
            self.accelerator.gather(value.sum()).sum() for value in (kept.float(), known)
        )
        whole = self.num_generations if self.args.per_device_train_batch_size % self.num_generations == 0 else 1
        counted = float(rows) / self.accelerator.num_processes
        made = groups.leave_out(batch, kept, parts, whole, counted)
        if self.loss_type == "dapo":  # its loss is a sum over the whole batch's tokens
            made = [part | {"weight": float(part["weight"] > 0)} for part in made]
        return made

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """As TRL does, times the weight of a micro-batch that has fewer rows than others."""
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss * inputs["weight"] if "weight" in inputs else loss

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        step = int(self.state.global_step)
        self.batch_groups, self.batch_scored, self.batch_flat = [int(row["group"]) for row in inputs], [], []
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        lengths = output["completion_mask"].sum(dim=1).tolist()
        ids = [row[:n].tolist() for row, n in zip(output["completion_ids"].cpu(), lengths, strict=True)]
        flat = self.batch_flat or groups.flat([one.reward for one in self.batch_scored], self.num_generations)
        rollouts = Rollouts(
            step=step,
            groups=self.batch_groups,
            samples=[row % self.num_generations for row in range(len(inputs))],
            prompts=[row["prompt"] for row in inputs],
            completions=[self.writer.decode(one) for one in ids],
            scored=self.batch_scored,
            advantages=output["advantages"].tolist(),
            lengths=lengths,
            flat=np.repeat(flat, self.num_generations).tolist(),
        )
        together = Rollouts.joined(gather_object([rollouts]))
        if self.params.zero_variance == "skip":
            self._mark_kept(output, together)
        for listener in self.listeners:
            listener(together)
        return output

    def _mark_kept(self, output: dict[str, Any], together: Rollouts) -> None:
        """Note which rows of this process teach something; advantages scaled by the batch are scaled by these rows."""
        rewards = [one.reward for one in together.scored]
        kept = np.repeat(~groups.flat(rewards, self.num_generations), self.num_generations)
        own = output["advantages"]
        mine = slice(self.accelerator.process_index * len(own), (self.accelerator.process_index + 1) * len(own))
        output["kept"] = torch.from_numpy(kept[mine]).to(own.device)
        if self.scale_rewards == "batch":
            output["advantages"] = torch.from_numpy(groups.scaled(rewards, kept, self.num_generations)[mine]).to(own)
