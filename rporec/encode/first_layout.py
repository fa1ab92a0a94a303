"""Reads text encoders of the first package layout, so that a champion of that time can still be served and compared.

That encoder counted a repeated word as 1 + log, and kept lexicon and vectors in one file. Written no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from rporec.encode.lexicon import Lexicon, read_vocabulary
from rporec.encode.vectors import Matrix, unit
from rporec.files import atomic_file, write_json

_WEIGHTS = "encoder.safetensors"


class TfidfEncoder:
    """TF-IDF rows times fixed components.

    Args:
        lexicon: V words and weights.
        components: [V, D].
    """

    def __init__(self, lexicon: Lexicon, components: np.ndarray) -> None:
        self.lexicon, self.components = lexicon, components

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self.components.shape[1])

    @property
    def values(self) -> int:
        """Number of components."""
        return int(self.components.size)

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return vectors [n, D] float32, rows of length 1; zero for a text without a known word."""
        return unit(np.asarray(self.lexicon.rows(texts) @ self.components, dtype=np.float32))

    def save(self, folder: Path) -> None:
        """Write the folder as it was, lexicon included."""
        words = self.lexicon.vocabulary
        write_json(folder / "vocabulary.json", sorted(words, key=words.__getitem__))
        with atomic_file(folder / _WEIGHTS) as temporary:
            save_file({"idf": self.lexicon.idf, "components": self.components}, temporary)

    @staticmethod
    def load(folder: Path) -> TfidfEncoder:
        """Read vocabulary.json and encoder.safetensors."""
        tensors = load_file(folder / _WEIGHTS)
        return TfidfEncoder(Lexicon(read_vocabulary(folder), tensors["idf"]), tensors["components"])


def is_first_layout(folder: Path) -> bool:
    """Whether a text folder was written in the first layout."""
    return (folder / _WEIGHTS).is_file()
