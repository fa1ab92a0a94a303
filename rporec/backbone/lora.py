"""Low-rank adapters (LoRA, arXiv 2106.09685) by peft: few weights are tuned, and merged before anything is saved.

What comes out is the plain model, so nothing downstream knows of adapters.
"""

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, adapter_config(rank))


def adapter_config(rank: int) -> LoraConfig:
    """Return peft's description of these adapters, inner width `rank`."""
    return LoraConfig(
        r=rank, lora_alpha=_SCALE * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def plain(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model: itself, or the one that adapters were put into, with them in place."""
    found = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(found, PreTrainedModel)
    return found


def merged_copy(adapted: PeftModel, fresh: PreTrainedModel, rank: int) -> PreTrainedModel:
    """Merge the adapters of a model that goes on learning into a fresh copy of what it started from.

    Merging and taking apart again would round the weights of the model itself.

    Args:
        adapted: as it learns; left as it is.
        fresh: the model before adapters, which is changed in place and returned.
        rank: of the adapters.
    """
    copy = add_adapters(fresh, rank, seed=0)
    set_peft_model_state_dict(copy, get_peft_model_state_dict(adapted))
    return merge_adapters(copy)


def merge_adapters(adapted: PeftModel) -> PreTrainedModel:
    """Return the plain model with the adapters added into its weights."""
    merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged.requires_grad_(requires_grad=True)
