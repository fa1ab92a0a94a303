"""Low-rank adapters (LoRA, arXiv 2106.09685) by peft: few weights are tuned, and merged before anything is saved.

What comes out is the plain model, so nothing downstream knows of adapters.
"""

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

_SCALE = 2  # alpha over rank, peft's and most recipes' choice


def add_adapters(model: PreTrainedModel, rank: int, seed: int) -> PeftModel:
    """Freeze a model and put an adapter beside every linear layer but the output's; `model` is changed in place.

    Args:
        model: a causal language model in float32.
        rank: inner width of an adapter, at least 1.
        seed: of the adapters; the global random state is left as it was.

    Returns:
        The wrapper that `merge_adapters` wants back; train `model` itself.
    """
    config = LoraConfig(
        r=rank, lora_alpha=_SCALE * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def merge_adapters(adapted: PeftModel) -> PreTrainedModel:
    """Return the plain model with the adapters added into its weights."""
    merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged.requires_grad_(requires_grad=True)
