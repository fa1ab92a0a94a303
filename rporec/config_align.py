"""The schema of the section `align` of params.yaml; `rporec.config` puts all sections together."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rporec.config_base import Rate, Section, Share, breach, sendable


class RewardWeights(Section):
    """Weights of the reward's terms (arXiv 2605.21967, its published values sum to 1)."""

    format: float = Field(ge=0)
    outside: float = Field(ge=0)
    rank: float = Field(ge=0)
    concise: float = Field(ge=0)
    similar: float = Field(ge=0)
    entropy: float = Field(ge=0)
    grounded: float = Field(ge=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self.model_dump().values()):
            raise breach(
                "align.weights", "0 for all of " + ", ".join(type(self).model_fields), "at least one above 0",
                "weigh what shall be learned; align.steps=0 goes on without reinforcement learning",
            )  # fmt: skip
        return self


class VllmParams(Section):
    """A vLLM server that samples in the place of our generator (TRL's server mode)."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@?#/]+/?$"), AfterValidator(sendable)] | None = Field(
        description="base URL, as http://localhost:8000; null = completions are sampled here"
    )
    timeout: float = Field(gt=0, description="seconds in which the server must say that it is well")
    group_port: int = Field(ge=1, le=65535, description="TCP port over which weights go to the server")


class AlignParams(Section):
    """Reinforcement learning (GRPO) with the frozen Rechead as the reward."""

    steps: int = Field(ge=0, description="optimizer steps; 0 = no reinforcement learning")
    rounds: int = Field(
        ge=1, le=10,
        description="runs of so many steps one after another, each from the policy of the one before with Recheads "
        "fitted again to what that policy writes; 1 = the paper's single round, with the Recheads as they are",
    )  # fmt: skip
    prompts_per_step: int = Field(ge=1, description="B: prompts a step")
    num_generations: int = Field(ge=2, description="G: completions a prompt; 1 has no group to compare with")
    micro_batch: int = Field(
        ge=1, description="completions a forward pass of one process at most; divides what a process has of a step"
    )
    zero_variance: Literal["keep", "skip", "resample"] = Field(
        description="groups whose completions all earn the same: keep (their KL and their number count), skip (they "
        "are left out of the loss) or resample (their completions are drawn again)"
    )
    resample_tries: int = Field(ge=1, le=100, description="draws after the first; read by zero_variance resample")
    lora_rank: int = Field(ge=0, description="rank of LoRA adapters, merged before saving; 0 = all weights are tuned")
    processes: int = Field(
        ge=1, le=64, description="processes that train together, one a GPU; divides prompts_per_step"
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        description="how several processes share the work, by infra/accelerate/<this>.yaml: each has all weights (ddp) "
        "or a part of them (fsdp)"
    )
    vllm: VllmParams
    temperature: float = Field(gt=0, le=2, description="sampling temperature of the rollouts")
    learning_rate: float = Field(gt=0, lt=1, description="AdamW")
    beta: float = Field(ge=0, description="weight of the KL divergence to the backbone")
    epsilon: float = Field(
        gt=0, lt=1,
        description="clip of the probability ratio; each batch is learned from once, by the policy that wrote it, so "
        "the ratio is 1 and nothing is clipped yet",
    )  # fmt: skip
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field(description="TRL's loss")
    scale_rewards: Literal["group", "batch", "none"] = Field(description="what the advantages are divided by")
    top_entropy_quantile: Rate = Field(description="share of tokens, by entropy, that carry the gradient")
    form: Literal["ours", "published"] = Field(
        description="of the reward's terms where they differ: candidates, text between the tags, conciseness, entropy"
    )
    rank_reward: Literal["ndcg", "ndcg_1000", "reciprocal_log", "log_probability"] = Field(
        description="how the target's rank pays in our form"
    )
    outside_limit: int = Field(ge=1, description="delta: characters outside the tags at which the outside term is 0")
    weights: RewardWeights
    eval_every: int = Field(ge=1, description="steps between held-out checks")
    eval_groups: int = Field(ge=1, description="valid groups of a held-out check")
    patience: int = Field(ge=1, description="held-out checks without a better one before the run stops")
    collapse_margin: Share = Field(
        description="fall of the share well formed, or true of the prompt, below the backbone's that stops the run"
    )
    near_margin: float = Field(
        ge=0, le=1, description="NDCG@10 held out within which two steps count as equal, and the truer one is better"
    )
    checkpoint_every: int = Field(ge=1, description="steps between checkpoints")
    ship: Literal["better", "not_worse"] = Field(
        description="when the policy ships: it ranks valid better, or as well with truer or shorter thoughts (better), "
        "or does not trail (not_worse)"
    )
    ship_margin: float = Field(
        ge=0, description="NDCG@10 on valid by which the policy may trail the backbone and still ship"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.prompts_per_step % self.processes:
            raise breach(
                "align.processes", self.processes,
                f"divides align.prompts_per_step ({self.prompts_per_step}): a group stays in one process",
                f"take one of {_divisors(self.prompts_per_step)}",
            )  # fmt: skip
        batch = self.prompts_per_step * self.num_generations // self.processes
        if batch % min(self.micro_batch, batch):
            raise breach(
                "align.micro_batch", self.micro_batch,
                f"divides the {batch} completions of a process, prompts_per_step ({self.prompts_per_step}) x "
                f"num_generations ({self.num_generations}) / processes ({self.processes})",
                f"take one of {_divisors(batch)}",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lora_rank and self.processes > 1 and self.parallel == "fsdp":
            raise breach("align.lora_rank", self.lora_rank, "0 with align.parallel fsdp", "train adapters with ddp")
        if self.vllm.url and self.zero_variance == "resample":
            raise breach(
                "align.zero_variance", self.zero_variance,
                "not resample with align.vllm.url: a server samples a step at once", "take keep or skip",
            )  # fmt: skip
        return self


def _divisors(number: int) -> str:
    return ", ".join(str(one) for one in range(1, number + 1) if number % one == 0)
