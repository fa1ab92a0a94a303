"""The schema of the section `align` of params.yaml; `rporec.config` puts all sections together."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rporec.config_data import Rate, Section, Share


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
            raise ValueError("at least one reward weight must be above 0")
        return self


class AlignParams(Section):
    """Reinforcement learning (GRPO) with the frozen Rechead as the reward."""

    steps: int = Field(ge=0, description="optimizer steps; 0 = no reinforcement learning")
    prompts_per_step: int = Field(ge=1, description="B: prompts a step")
    num_generations: int = Field(ge=2, description="G: completions a prompt; 1 has no group to compare with")
    micro_batch: int = Field(
        ge=1, description="completions a forward pass at most; divides prompts_per_step x num_generations"
    )
    temperature: float = Field(gt=0, le=2, description="sampling temperature of the rollouts")
    learning_rate: float = Field(gt=0, lt=1, description="AdamW")
    beta: float = Field(ge=0, description="weight of the KL divergence to the backbone")
    epsilon: float = Field(gt=0, lt=1, description="clip of the probability ratio")
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
    ship_margin: float = Field(
        ge=0, description="NDCG@10 on valid by which the policy may trail the backbone and still ship"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        batch = self.prompts_per_step * self.num_generations
        if batch % min(self.micro_batch, batch):
            raise ValueError(f"align.micro_batch must divide prompts_per_step x num_generations, {batch} completions")
        return self
