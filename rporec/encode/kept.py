"""Vectors kept on disk by content: a text is encoded once, whatever run or stage asks for it.

A folder for each encoder, named by the hash of its weights and settings, and in it shards of text hashes and vectors.
A shard is written as soon as it is full, so that a killed run goes on and an added item costs one text. Many shards
become one, and beyond a fixed number the texts that were not asked for longest are dropped: thoughts are of one run.
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
_MOST_SHARDS = 64  # files of one encoder
_MOST_TEXTS = 1 << 18  # 0.4 GB of all-MiniLM-L6-v2's


class KeptVectors:
    """An encoder that never encodes a text twice.

    Args:
        encoder: does the work.
        identity: hash of all that its vectors depend on, but the text.
        folder: of the vectors of all encoders, which outlives a run.
    """

    def __init__(self, encoder: Encoder, identity: str, folder: Path) -> None:
        self._encoder, self._folder = encoder, folder / identity
        self._found: dict[bytes, np.ndarray] = {}  # those asked for last stand last
        self._asked: set[bytes] = set()
        self._shards = sorted(self._folder.glob("*.safetensors"), key=_written)
        for path in self._shards:
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
        self._asked.update(keys)
        self._tidy()
        return rows

    def save(self, folder: Path) -> None:
        """Write the encoder alone."""
        self._encoder.save(folder)

    def _learn(self, keys: list[bytes], texts: list[str]) -> None:
        with Progress("encode texts", len(texts), "texts") as progress:
            for start in range(0, len(texts), _SHARD):
                part = keys[start : start + _SHARD]
                vectors = self._encoder.encode(texts[start : start + _SHARD])
                self._shards.append(self._write(part, vectors))
                self._found.update(zip(part, vectors, strict=True))
                progress.advance(len(part))

    def _write(self, keys: list[bytes], vectors: Matrix) -> Path:
        path = self._folder / f"{hashlib.sha256(b''.join(keys)).hexdigest()[:32]}.safetensors"
        stored = {"keys": np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1), "vectors": vectors}
        with atomic_file(path) as temporary:
            save_file(stored, temporary)
        return path

    def _tidy(self) -> None:
        """Make one shard of many. A kill leaves too much, never too little; so does another process that tidies up."""
        if len(self._shards) <= _MOST_SHARDS:
            return
        last = [key for key in self._found if key in self._asked]
        first = [key for key in self._found if key not in self._asked]
        keys = [*first, *last][-max(_MOST_TEXTS, len(last)) :]
        self._found = {key: self._found[key] for key in keys}
        whole = self._write(keys, np.stack(list(self._found.values())))
        for path in self._shards:
            if path != whole:
                path.unlink(missing_ok=True)
        self._shards = [whole]

    def _read(self, path: Path) -> None:
        try:
            stored = load_file(path)
            keys, vectors = stored["keys"], stored["vectors"]
            if vectors.shape != (len(keys), self.dim):
                raise ValueError(f"vectors of shape {vectors.shape}")
        except FileNotFoundError:  # another process has just tidied up
            return
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            log.warning("the kept vectors %s cannot be read (%s): their texts are encoded again", path, error)
            return
        self._found.update((key.tobytes(), vector) for key, vector in zip(keys, vectors, strict=True))


def _written(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except FileNotFoundError:
        return 0, path.name
