"""Pretrained encoders: any sentence-transformers model, by folder or by name.

Always on the CPU, and each text alone: on another device or in a batch the last bits differ, and a cached or resumed
run would give other bytes. Importing this module takes seconds; only `rporec.encode.source` does, and only where such
a model is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from rporec.encode.vectors import Matrix, unit
from rporec.errors import InputError
from rporec.files import read_json, sha256_path, write_json
from rporec.reach import UnreachableError, must_use_cache, unusable

transformers_logging.disable_progress_bar()  # a bar for one small file says nothing

_MODULES, _CONFIG = "modules.json", "config_sentence_transformers.json"
_READ = ["*.json", "*.jsonl", "*.txt", "*.model", "*.safetensors"]  # what a model consists of
_PICKLES, _SAFE = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}, "model.safetensors"
_NAMESPACE = "sentence-transformers"  # of names without an owner


class PretrainedEncoder:
    """A sentence-transformers model on CPU, its vectors scaled to length 1.

    Args:
        model: loaded.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model.eval()
        tokenizer = model.tokenizer
        self._words = tokenizer.backend_tokenizer if isinstance(tokenizer, PreTrainedTokenizerFast) else None
        self._cut: dict[str, Any] | None = self._words.truncation if self._words else None
        self._filled: dict[str, Any] | None = self._words.padding if self._words else None

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self._model.get_embedding_dimension() or 0)

    @property
    def values(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self._model.parameters())

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return vectors [n, D] float32, rows of length 1; zero for a text without a visible character."""
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            if text.strip():
                rows[row] = self._model.encode(text, show_progress_bar=False)
        return unit(rows)

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder, weights as safetensors; the same whatever was encoded before."""
        if self._words:  # it saves how the last text was cut and filled up
            self._words.no_truncation()
            self._words.no_padding()
            if self._cut:
                self._words.enable_truncation(**self._cut)
            if self._filled:
                self._words.enable_padding(**self._filled)
        self._model.save(str(folder), create_model_card=False)
        config = read_json(folder / _CONFIG)
        config.pop("__version__", None)  # names the build of torch: the same model would have other bytes elsewhere
        write_json(folder / _CONFIG, config)

    def identity(self) -> str:
        """Return a hash of weights, tokenizer and settings, hexadecimal."""
        with tempfile.TemporaryDirectory() as name:
            self.save(Path(name))
            return sha256_path(Path(name))


def load_pretrained(source: str | Path) -> PretrainedEncoder:
    """Load a model.

    Args:
        source: a sentence-transformers folder, or a model name on the hub or in its local cache.

    Raises:
        InputError: the folder or name cannot be loaded, or its weights are not safetensors.
    """
    folder = Path(source)
    if folder.exists() and not (folder / _MODULES).is_file():
        raise _unusable(source, f"the folder holds no {_MODULES}")
    name = str(source) if "/" in str(source) else f"{_NAMESPACE}/{source}"
    try:
        if not folder.exists():
            local = must_use_cache(name, _MODULES)
            folder = Path(snapshot_download(name, local_files_only=local, allow_patterns=_READ))
        _refuse_pickles(folder)
        kinds = {"use_safetensors": True, "dtype": "float32"}
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=kinds)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError, UnreachableError) as error:
        raise _unusable(source, (str(error).strip() or type(error).__name__).splitlines()[0]) from error
    return PretrainedEncoder(model)


def _refuse_pickles(folder: Path) -> None:
    """Such weights may run code when they are loaded, which modules other than the transformer would do."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _PICKLES and not (path.parent / _SAFE).is_file():
            raise ValueError(f"{path.relative_to(folder)} is a pickle, and no {_SAFE} lies beside it")


def _unusable(source: str | Path, why: str) -> InputError:
    return unusable(
        "rechead.encoder", source, why, "modules.json and safetensors weights", "set rechead.encoder to embedded"
    )
