"""Where a writer comes from: any transformers causal language model, by folder or by name.

The embedded backbone is such a folder too, so the pipeline and the service have one code path. Not a trainer (see
`embedded`) and not a download manager: names are resolved by transformers.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from rporec.errors import InputError
from rporec.reach import UnreachableError, must_use_cache, unusable

transformers_logging.disable_progress_bar()  # a bar for one small file says nothing

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_CONTEXT = ("max_position_embeddings", "max_seq_len")  # what architectures call it; BLOOM, for one, has neither
_BOUNDLESS = 10**9  # tokens; a tokenizer that knows no limit says 10**30


@dataclass(frozen=True)
class Writer:
    """A causal language model with its tokenizer.

    Attributes:
        model: in eval mode unless a trainer says otherwise.
        tokenizer: with an end token; its chat template, if it has one, wraps every prompt.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a completion."""
        return int(self.tokenizer.eos_token_id)

    @property
    def context(self) -> int | None:
        """Longest prompt plus completion, in tokens; None where neither model nor tokenizer has a limit."""
        stated = int(self.tokenizer.model_max_length)
        return context_length(self.model.config) or (stated if 0 < stated < _BOUNDLESS else None)

    def prompt_budget(self, wanted: int, completion: int) -> int:
        """Return the tokens that a prompt may take: `wanted`, or what the context leaves beside a completion.

        Raises:
            InputError: the context does not even hold the completion.
        """
        context = self.context
        if context is None:
            return wanted
        if completion >= context:
            raise InputError(
                "the context of the backbone is shorter than a completion",
                field="backbone.max_completion_tokens", value=completion, rule=f"below {context} tokens",
                cure="lower backbone.max_completion_tokens, or take a backbone with a longer context",
            )  # fmt: skip
        return min(wanted, context - completion)

    def render(self, prompt: str) -> str:
        """Return the text that the model reads: the prompt in the chat template, or as it is where there is none."""
        if self.tokenizer.chat_template is None:
            return prompt
        turns = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    def encode(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt as the model reads it."""
        # A chat template writes its own special tokens, so that the tokenizer must not add them a second time.
        plain = self.tokenizer.chat_template is None
        return list(self.tokenizer(self.render(prompt), add_special_tokens=plain)["input_ids"])

    def count(self, prompt: str) -> int:
        """Return the length of a prompt as the model reads it, in tokens."""
        return len(self.encode(prompt))

    def count_completion(self, completion: str) -> int:
        """Return the length of a completion without its end token, in tokens."""
        return len(self.tokenizer(completion, add_special_tokens=False)["input_ids"])

    def decode(self, ids: list[int]) -> str:
        """Return the text of a completion without its end token; other special tokens stay visible to the parser."""
        kept = ids[:-1] if ids and ids[-1] == self.eos_id else ids
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def save(self, folder: Path) -> None:
        """Write model (safetensors) and tokenizer into a folder that `load_writer` reads."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_writer(source: str | Path, dtype: str = "float32", device: str = "cpu") -> Writer:
    """Load a causal language model and its tokenizer.

    Args:
        source: a folder as written by `Writer.save`, or a model name on the hub or in its local cache.
        dtype: "float32" or "bfloat16".
        device: "cpu", "cuda", ...

    Raises:
        InputError: the folder or name cannot be loaded, its weights are not safetensors, or it has no end token.
    """
    folder = Path(source)
    if folder.exists() and not (folder / "config.json").is_file():
        raise _unusable(source, "the folder holds no config.json")
    try:
        local = folder.exists() or must_use_cache(str(source))
        tokenizer = AutoTokenizer.from_pretrained(str(source), local_files_only=local)
        # use_safetensors: weights in pickle files would run code when loaded, so they are refused.
        model = AutoModelForCausalLM.from_pretrained(
            str(source), dtype=DTYPES[dtype], use_safetensors=True, local_files_only=local
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, UnreachableError) as error:
        raise _unusable(source, str(error).strip().splitlines()[0]) from error
    if tokenizer.eos_token_id is None:
        raise _unusable(source, "its tokenizer has no end token, so completions would never finish")
    return Writer(model=model.to(device).eval(), tokenizer=tokenizer)


def context_length(config: PreTrainedConfig) -> int | None:
    """Return the longest text that a model reads, in tokens, as its configuration says; None where it says nothing.

    Args:
        config: of any causal language model; one that also sees or hears keeps its text part apart.
    """
    text = config.get_text_config(decoder=True)
    stated = [getattr(text, name) for name in _CONTEXT if hasattr(text, name)]
    return next((int(length) for length in stated if length and length > 0), None)


def cast(model: PreTrainedModel, dtype: str) -> None:
    """Bring the weights of a model into a number format, in place.

    Buffers stay as they are: rotary frequencies lose their meaning in bfloat16, and loading makes them anew in float32.

    Args:
        model: any model.
        dtype: "float32" or "bfloat16".
    """
    for weight in model.parameters():
        weight.data = weight.data.to(DTYPES[dtype])


def _unusable(source: str | Path, why: str) -> InputError:
    return unusable(
        "backbone.name",
        source,
        why,
        "config.json, tokenizer.json and safetensors weights",
        "set backbone.source to embedded",
    )
