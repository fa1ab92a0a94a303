"""The schema of section `backbone` of params.yaml: types, ranges, meaning, rules.

Part of `rporec.config`, which reads and checks the file; only the schema imports this.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rporec.config_base import Section, breach, sendable

Price = Annotated[float, Field(ge=0)]


class TeacherParams(Section):
    """A model behind an OpenAI-compatible endpoint that writes fine-tuning texts; its key is in RPOREC_TEACHER_KEY."""

    # A key or password does not belong into a file that is committed: no user part, no query.
    url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$"), AfterValidator(sendable)] | None = Field(
        description="base URL, as http://localhost:11434/v1; null = no teacher, all texts are composed"
    )
    model: Annotated[str, Field(min_length=1)] | None = Field(description="the model's name at the endpoint")
    max_rows: int = Field(
        ge=1, description="training rows it writes for, at most, chosen by seed; the rest is composed"
    )
    concurrency: int = Field(ge=1, le=256, description="requests under way at once")
    requests_per_minute: Annotated[float, Field(gt=0)] | None = Field(
        description="requests started a minute at most, tries counted; null = no limit"
    )
    timeout: float = Field(gt=0, description="seconds that one try may take from first to last byte")
    retries: int = Field(ge=0, le=100, description="tries after the first")
    backoff: float = Field(ge=0, description="seconds before the first retry, doubled each time, with jitter")
    max_wait: float = Field(gt=0, description="seconds; no wait is longer, and a Retry-After beyond it stops the run")
    temperature: float = Field(ge=0, le=2, description="0 = greedy")
    max_tokens: int = Field(ge=8, description="tokens of a reply; a model that thinks first needs more")
    prompt_price: Price | None = Field(description="US dollars a million prompt tokens; null = unknown")
    completion_price: Price | None = Field(description="US dollars a million completion tokens; null = unknown")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.url is None) != (self.model is None):
            missing = "url" if self.url is None else "model"
            raise breach(f"backbone.teacher.{missing}", None, "url and model are set together or both null", "set both")
        return self


class EvidenceParams(Section):
    """What a prompt may carry beside the history, looked up as of the split; 0 = none of that kind."""

    followed: int = Field(
        ge=0, le=50, description="items that most often followed the newest ones, with how many times"
    )
    neighbours: int = Field(ge=0, le=50, description="items nearest in text to the newest one")
    description_words: int = Field(ge=0, le=200, description="words of the newest item's description")


class BackboneParams(Section):
    """The language model before reinforcement learning."""

    source: Literal["embedded", "pretrained"] = Field(
        description="trained here from scratch, or any transformers causal LM"
    )
    name: str | None = Field(description="name or folder of the pretrained model; null for embedded")
    dtype: Literal["float32", "bfloat16"] = Field(
        description="number format of the weights as saved and served; fine-tuning computes in it and keeps weights "
        "and optimizer in float32"
    )
    lora_rank: int = Field(ge=0, description="rank of LoRA adapters, merged before saving; 0 = all weights are tuned")
    vocab_size: int = Field(ge=300, le=200_000, description="byte-level BPE tokens (embedded)")
    width: int = Field(ge=8, description="hidden size D (embedded)")
    layers: int = Field(ge=1, description="transformer layers (embedded)")
    heads: int = Field(ge=1, description="attention heads (embedded)")
    epochs: int = Field(ge=0, description="passes over the fine-tuning texts; 0 = no fine-tuning")
    warm_epochs: float = Field(
        gt=0,
        le=1,
        description="share of the fine-tuning texts, the newest, for a night that goes on from the champion's",
    )
    batch_tokens: int = Field(ge=64, description="tokens a fine-tuning batch")
    learning_rate: float = Field(gt=0, lt=1, description="peak of AdamW")
    prompt_items: int = Field(ge=1, description="newest history items shown in the prompt")
    max_prompt_tokens: int = Field(ge=16, description="P: longer prompts lose evidence, then their oldest items")
    max_completion_tokens: int = Field(ge=8, description="L: tokens a completion may take")
    evidence: EvidenceParams
    targets_per_group: int = Field(ge=1, description="fine-tuning texts a basket at most")
    max_examples: int = Field(ge=1, description="fine-tuning texts in all, at most, chosen by seed")
    drills: float = Field(
        ge=0, le=1, description="share of the events told once more under other names, to drill copying"
    )
    teacher: TeacherParams

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.source == "pretrained") != (self.name is not None):
            raise breach(
                "backbone.name", self.name, f"set exactly when backbone.source ({self.source}) is pretrained",
                "set backbone.name to a model's folder or hub name with source pretrained, to null with embedded",
            )  # fmt: skip
        if self.width % self.heads:
            raise breach("backbone.heads", self.heads, f"divides backbone.width ({self.width})", "take one that does")
        return self

    @model_validator(mode="after")
    def _tuned(self) -> Self:
        if self.lora_rank and self.source == "embedded":
            rule = "0 for the embedded backbone: fresh weights cannot stay frozen"
            raise breach("backbone.lora_rank", self.lora_rank, rule, "set it to 0, or take a pretrained backbone")
        if self.lora_rank and not self.epochs:
            rule = "above 0 with backbone.lora_rank: else nothing would be tuned"
            raise breach("backbone.epochs", self.epochs, rule, "set epochs, or lora_rank to 0")
        if self.teacher.url and not self.epochs:
            rule = "above 0 with backbone.teacher.url: else nothing would be learned"
            raise breach("backbone.epochs", self.epochs, rule, "set epochs, or the teacher's url to null")
        return self
