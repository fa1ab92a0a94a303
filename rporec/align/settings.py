"""Our parameters of reinforcement learning as TRL's; every trap of the libraries is set here, once.

Only the mapping: what is trained with it is in `trainer`, which values are allowed in `rporec.config_align`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peft import LoraConfig
from trl import GRPOConfig

from rporec.backbone.lora import adapter_config
from rporec.config import AlignParams

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
        made_of: hashes by name of what else the run depends on (the Rechead); work of others is refused.
        origin: held-out check (a row of `rporec.align.curves`) of the backbone of round 1, from which a collapse is
            measured; None where `backbone` is that one.
        dtype: of the policy's passes, `backbone.dtype`; weights and optimizer stay in float32.
    """

    backbone: Path
    work: Path
    seed: int
    max_completion_tokens: int
    device: str
    made_of: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, Any] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.work / "checkpoints"

    @property
    def best(self) -> Path:
        """Where the policy of the best held-out step lies."""
        return self.work / "best"


def grpo_config(params: AlignParams, setup: Setup) -> GRPOConfig:
    """Map our parameters to TRL's."""
    batch = params.prompts_per_step * params.num_generations // params.processes  # of one process
    micro = min(params.micro_batch, batch)
    served = params.vllm.url is not None
    config = GRPOConfig(
        output_dir=str(setup.checkpoints),
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
        use_vllm=served,
        vllm_mode="server" if served else "colocate",
        vllm_server_base_url=params.vllm.url,
        vllm_server_timeout=params.vllm.timeout,
        vllm_group_port=params.vllm.group_port,
        mask_truncated_completions=False,  # with no completion that ends it gives a silent zero loss
        disable_dropout=True,
        activation_checkpointing=False,
        use_cpu=setup.device == "cpu",
        bf16=setup.dtype == "bfloat16",
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


def peft_config(params: AlignParams) -> LoraConfig | None:
    """Return the adapters of `align.lora_rank`, None where all weights are tuned."""
    return adapter_config(params.lora_rank) if params.lora_rank else None
