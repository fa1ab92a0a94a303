"""What an encoder is: texts in, vectors of length 1 out. Where encoders come from is `rporec.encode.source`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

Matrix = np.ndarray  # float32, two axes


class Encoder(Protocol):
    """Texts to vectors; the vector of a text does not depend on the other texts of the call."""

    @property
    def dim(self) -> int:
        """Width D of the vectors."""

    @property
    def values(self) -> int:
        """Number of fitted or learned values."""

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return vectors [n, D] float32, rows of length 1, or 0 for a text that says nothing."""

    def save(self, folder: Path) -> None:
        """Write a folder that `rporec.encode.source.load_encoder` reads."""


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: np.ndarray = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-8)
    return scaled
