"""Vectors kept on disk by content: a text is encoded once, whatever run or stage asks for it.

A folder for each encoder, named by the hash of its weights and settings, and in it shards of text hashes and vectors.
A shard is written as soon as it is full, so that a killed run goes on and an added item costs one text.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rporec.encode.vectors import Encoder, Matrix
from rporec.files import atomic_file
from rporec.progress import Progress

log = logging.getLogger(__name__)
_SHARD = 256  # texts: some seconds of work


class KeptVectors:
    """An encoder that never encodes a text twice.

    Args:
        encoder: does the work.
        identity: hash of all that its vectors depend on, but the text.
        folder: of the vectors of all encoders, which outlives a run.
    """

    def __init__(self, encoder: Encoder, identity: str, folder: Path) -> None:
        self._encoder, self._folder = encoder, folder / identity
        self._found: dict[bytes, np.ndarray] = {}
        for path in sorted(self._folder.glob("*.safetensors")):
            self._read(path)

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return self._encoder.dim

    @property
    def values(self) -> int:
        """Number of the encoder's values."""
        return self._encoder.values

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return vectors [n, D] float32, as the encoder gives them."""
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._found}
        self._learn(list(missing), list(missing.values()))
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, key in enumerate(keys):
            rows[row] = self._found[key]
        return rows

    def save(self, folder: Path) -> None:
        """Write the encoder alone."""
        self._encoder.save(folder)

    def _learn(self, keys: list[bytes], texts: list[str]) -> None:
        with Progress("encode texts", len(texts), "texts") as progress:
            for start in range(0, len(texts), _SHARD):
                part = keys[start : start + _SHARD]
                vectors = self._encoder.encode(texts[start : start + _SHARD])
                stored = {"keys": np.frombuffer(b"".join(part), np.uint8).reshape(len(part), -1), "vectors": vectors}
                name = hashlib.sha256(b"".join(part)).hexdigest()[:32]
                with atomic_file(self._folder / f"{name}.safetensors") as temporary:
                    save_file(stored, temporary)
                self._found.update(zip(part, vectors, strict=True))
                progress.advance(len(part))

    def _read(self, path: Path) -> None:
        try:
            stored = load_file(path)
            keys, vectors = stored["keys"], stored["vectors"]
            if vectors.shape != (len(keys), self.dim):
                raise ValueError(f"vectors of shape {vectors.shape}")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            log.warning("the kept vectors %s cannot be read (%s): their texts are encoded again", path, error)
            return
        self._found.update((key.tobytes(), vector) for key, vector in zip(keys, vectors, strict=True))
