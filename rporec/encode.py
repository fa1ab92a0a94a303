"""Text to vectors: TF-IDF over words, reduced by a truncated SVD fitted on the catalogue.

Deterministic, kept as JSON + safetensors. Two views of a text: dense rows (meaning, `encode`) and sparse rows (the
exact words, `lexical`), which tell apart items that the dense view blurs. Not a pretrained encoder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from sklearn.utils.extmath import randomized_svd

from rporec.errors import InputError
from rporec.files import atomic_file, read_json, write_json

Matrix = np.ndarray  # float32, two axes

_WORD = re.compile(r"\w+(?:[.\-/]\w+)*")  # sizes and part numbers (1/4, 3.5, m-12) stay whole
_MAX_WORDS = 50_000
_SVD_PASSES = 5  # power iterations; enough for cosines to settle to 3 digits
_MOST_CHARACTERS = 20_000  # of one text; more is not a description


class TextEncoder:
    """A fitted encoder.

    Args:
        vocabulary: word to column, V words.
        idf: [V] inverse document frequencies.
        components: [V, D] from TF-IDF columns to vector entries.
    """

    def __init__(self, vocabulary: dict[str, int], idf: np.ndarray, components: np.ndarray) -> None:
        self.vocabulary, self.idf, self.components = vocabulary, idf, components

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self.components.shape[1])

    @staticmethod
    def fit(texts: Sequence[str], dim: int, seed: int) -> TextEncoder:
        """Fit on a catalogue's texts.

        Args:
            texts: one text an item.
            dim: D; columns beyond what the texts can span are zero.
            seed: of the randomised SVD.

        Raises:
            InputError: the texts hold no word at all.
        """
        vocabulary = _vocabulary(texts)
        if not vocabulary:
            raise InputError(
                "the item texts hold no word", field="title",
                rule="at least one item has a title, brand, category or description", cure="give the items titles",
            )  # fmt: skip
        encoder = TextEncoder(vocabulary, np.ones(len(vocabulary), np.float32), np.zeros((len(vocabulary), dim)))
        counts = encoder._counts(texts)
        seen = np.asarray((counts > 0).sum(axis=0)).ravel()
        encoder.idf = (np.log((1 + len(texts)) / (1 + seen)) + 1).astype(np.float32)
        weighted = encoder.lexical(texts)
        rank = min(dim, len(vocabulary), len(texts))
        _, _, axes = randomized_svd(weighted, rank, n_iter=_SVD_PASSES, random_state=seed)  # [rank, V]
        encoder.components = np.zeros((len(vocabulary), dim), np.float32)
        encoder.components[:, :rank] = axes.T
        return encoder

    def lexical(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Return the TF-IDF rows, [n, V] sparse float32, of length 1 (0 where no word is known)."""
        weighted = self._counts(texts)
        weighted.data = np.log(weighted.data) + 1  # a word said ten times is not ten times as telling
        weighted = weighted.multiply(self.idf[None, :]).tocsr().astype(np.float32)
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return (sp.diags(1 / np.maximum(lengths, 1e-12)) @ weighted).tocsr().astype(np.float32)

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return vectors [n, D] float32, rows of length 1; zero for a text without a known word."""
        return unit(np.asarray(self.lexical(texts) @ self.components, dtype=np.float32))

    def save(self, folder: Path) -> None:
        """Write vocabulary.json and encoder.safetensors into `folder`."""
        write_json(folder / "vocabulary.json", sorted(self.vocabulary, key=self.vocabulary.__getitem__))
        with atomic_file(folder / "encoder.safetensors") as temporary:
            save_file({"idf": self.idf, "components": self.components}, temporary)

    @staticmethod
    def load(folder: Path) -> TextEncoder:
        """Read what `save` wrote."""
        words = read_json(folder / "vocabulary.json")
        tensors = load_file(folder / "encoder.safetensors")
        return TextEncoder({word: column for column, word in enumerate(words)}, tensors["idf"], tensors["components"])

    def _counts(self, texts: Sequence[str]) -> sp.csr_matrix:
        rows: list[int] = []
        columns: list[int] = []
        for row, text in enumerate(texts):
            known = [self.vocabulary[word] for word in words_of(text) if word in self.vocabulary]
            rows.extend([row] * len(known))
            columns.extend(known)
        ones = np.ones(len(rows), np.float32)
        return sp.csr_matrix((ones, (rows, columns)), shape=(len(texts), len(self.vocabulary)))  # repeats add up


def words_of(text: str) -> list[str]:
    """Return the lower-cased words of a text, in order."""
    return _WORD.findall(text[:_MOST_CHARACTERS].lower())


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: np.ndarray = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-8)
    return scaled


def _vocabulary(texts: Sequence[str]) -> dict[str, int]:
    """Words of the most texts first, at most _MAX_WORDS; columns in the order of the alphabet."""
    found: dict[str, int] = {}
    for text in texts:
        for word in set(words_of(text)):
            found[word] = found.get(word, 0) + 1
    kept = sorted(found, key=lambda word: (-found[word], word))[:_MAX_WORDS]
    return {word: column for column, word in enumerate(sorted(kept))}
