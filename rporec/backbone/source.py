"""Where a writer comes from: any transformers causal language model, by folder or by name.

The embedded backbone is such a folder too, so the pipeline and the service have one code path. Not a trainer (see
`embedded`) and not a download manager: names are resolved by transformers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
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
_PROBE = "What did the customer buy last?"
_NAMED = 3  # weights that an error names
_QUOTED = 200  # characters of a loader's own words that are told


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
        """Id of the token that ends a completion to learn from."""
        return int(self.tokenizer.eos_token_id)

    @property
    def end_ids(self) -> list[int]:
        """Ids of the tokens at which writing stops: the tokenizer's end token first, then those the model names."""
        generation = self.model.generation_config
        stated = None if generation is None else generation.eos_token_id
        named = stated if isinstance(stated, list) else [stated]
        return list(dict.fromkeys([self.eos_id, *(int(one) for one in named if one is not None)]))

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
        kept = ids[:-1] if ids and ids[-1] in self.end_ids else ids
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
        InputError: the folder or name cannot be loaded, its weights are not safetensors or not those of its
            configuration, it has no end token, or its tokenizer or chat template cannot read a prompt.
    """
    folder = Path(source)
    if folder.exists() and not (folder / "config.json").is_file():
        raise _unusable(source, "the folder holds no config.json")
    try:
        local = folder.exists() or must_use_cache(str(source))
    except UnreachableError as error:
        raise _unusable(source, str(error)) from error
    with _reading(source, "configuration"):
        AutoConfig.from_pretrained(str(source), local_files_only=local)
    with _reading(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(source), local_files_only=local)
    with _reading(source, "weights"):
        # use_safetensors: weights in pickle files would run code when loaded, so they are refused.
        # ignore_mismatched_sizes: the loader's own error names no weight; they are refused below.
        model, report = AutoModelForCausalLM.from_pretrained(
            str(source), dtype=DTYPES[dtype], use_safetensors=True, local_files_only=local,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    _check_weights(source, report["missing_keys"], {key for key, *_ in report["mismatched_keys"]})
    writer = Writer(model=model.to(device).eval(), tokenizer=tokenizer)
    _check_words(source, writer)
    return writer


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


@contextmanager
def _reading(source: str | Path, part: str) -> Iterator[None]:
    """Say which part of a model folder is at fault, whatever is raised by what reads it."""
    try:
        yield
    except Exception as error:  # tokenizers has no narrower one, and a template raises what it likes
        said = " ".join(str(error).split())[:_QUOTED]
        raise _unusable(source, f"its {part} cannot be used ({type(error).__name__}: {said})") from error


def _check_weights(source: str | Path, missing: set[str], misshapen: set[str]) -> None:
    """Refuse a model that the loader would fill up with random weights; tied ones are not reported as missing."""
    for keys, fault in ((missing, "are missing"), (misshapen, "have another shape than its configuration says")):
        if keys:
            named = ", ".join(sorted(keys)[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
            raise _unusable(source, f"{len(keys)} of its weights {fault}: {named}")


def _check_words(source: str | Path, writer: Writer) -> None:
    """Refuse a tokenizer or a chat template that cannot tell the model a prompt, by one that is rendered."""
    tokenizer = writer.tokenizer
    if tokenizer.eos_token_id is None:
        raise _unusable(source, "its tokenizer has no end token, so completions would never finish")
    with _reading(source, "tokenizer"):
        known = max(tokenizer.get_vocab().values(), default=-1) + 1
        ids = set(tokenizer(_PROBE, add_special_tokens=False)["input_ids"]) - {tokenizer.unk_token_id}
    if not ids:  # where there are no files of one, the loader invents a tokenizer without words
        raise _unusable(source, "its tokenizer knows no words: tokenizer.json or its vocabulary files are missing")
    rows = writer.model.get_input_embeddings().weight.shape[0]
    if known > rows:
        raise _unusable(source, f"its tokenizer gives {known} ids and its weights have {rows} rows for them")
    with _reading(source, "chat template"):
        rendered, read = writer.render(_PROBE), writer.encode(_PROBE)
    if _PROBE not in rendered or not read:
        raise _unusable(source, "its chat template leaves the prompt out")
    with _reading(source, "generation_config.json"):
        _ = writer.end_ids


def _unusable(source: str | Path, why: str) -> InputError:
    return unusable(
        "backbone.name",
        source,
        why,
        "config.json, tokenizer.json and safetensors weights",
        "set backbone.source to embedded",
    )
