"""The exact words of texts as sparse TF-IDF rows, which tell apart what an encoder's dense vectors blur.

Fitted on the catalogue, kept as JSON + safetensors. Its counting also serves the fit of the encoder `embedded`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from rporec.errors import InputError
from rporec.files import atomic_file, read_json, write_json

_WORD = re.compile(r"\w+(?:[.\-/]\w+)*")  # sizes and part numbers (1/4, 3.5, m-12) stay whole
_MAX_WORDS = 50_000
_MOST_CHARACTERS = 20_000  # of one text; more is not a description

Words = Sequence[Sequence[str]]


class Lexicon:
    """Words and their weights.

    Args:
        vocabulary: word to column, V words.
        idf: [V] float32 inverse document frequencies.
    """

    def __init__(self, vocabulary: dict[str, int], idf: np.ndarray) -> None:
        self.vocabulary, self.idf = vocabulary, idf

    @staticmethod
    def fit(texts: Sequence[str]) -> Lexicon:
        """Fit on a catalogue's texts.

        Raises:
            InputError: the texts hold no word at all.
        """
        words = [words_of(text) for text in texts]
        vocabulary = vocabulary_of(words)
        return Lexicon(vocabulary, idf_of(counts_of(words, vocabulary)))

    def rows(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Return the TF-IDF rows, [n, V] sparse float32, of length 1 (0 where no word is known)."""
        return weigh(counts_of([words_of(text) for text in texts], self.vocabulary), self.idf)

    def save(self, folder: Path) -> None:
        """Write vocabulary.json and lexicon.safetensors into `folder`."""
        write_json(folder / "vocabulary.json", sorted(self.vocabulary, key=self.vocabulary.__getitem__))
        with atomic_file(folder / "lexicon.safetensors") as temporary:
            save_file({"idf": self.idf}, temporary)

    @staticmethod
    def load(folder: Path) -> Lexicon:
        """Read what `save` wrote."""
        return Lexicon(read_vocabulary(folder), load_file(folder / "lexicon.safetensors")["idf"])


def words_of(text: str) -> list[str]:
    """Return the lower-cased words of a text, in order."""
    return _WORD.findall(text[:_MOST_CHARACTERS].lower())


def read_vocabulary(folder: Path) -> dict[str, int]:
    """Return word to column from vocabulary.json, a list of words."""
    return {word: column for column, word in enumerate(read_json(folder / "vocabulary.json"))}


def vocabulary_of(words: Words) -> dict[str, int]:
    """Return word to column: the words of the most texts, at most 50,000, columns in the order of the alphabet.

    Raises:
        InputError: there is no word at all.
    """
    found: dict[str, int] = {}
    for text in words:
        for word in set(text):
            found[word] = found.get(word, 0) + 1
    if not found:
        raise InputError(
            "the item texts hold no word", field="title",
            rule="at least one item has a title, brand, category or description", cure="give the items titles",
        )  # fmt: skip
    kept = sorted(found, key=lambda word: (-found[word], word))[:_MAX_WORDS]
    return {word: column for column, word in enumerate(sorted(kept))}


def counts_of(words: Words, vocabulary: dict[str, int]) -> sp.csr_matrix:
    """Return how often each known word stands in each of n texts, [n, V] sparse float32."""
    rows: list[int] = []
    columns: list[int] = []
    for row, text in enumerate(words):
        known = [vocabulary[word] for word in text if word in vocabulary]
        rows.extend([row] * len(known))
        columns.extend(known)
    ones = np.ones(len(rows), np.float32)
    return sp.csr_matrix((ones, (rows, columns)), shape=(len(words), len(vocabulary)))  # repeats add up


def idf_of(counts: sp.csr_matrix) -> np.ndarray:
    """Return the smoothed inverse document frequencies [V] float32 of counts [n, V]."""
    seen = np.asarray((counts > 0).sum(axis=0)).ravel()
    return np.asarray(np.log((1 + counts.shape[0]) / (1 + seen)) + 1, dtype=np.float32)


def weigh(counts: sp.csr_matrix, idf: np.ndarray) -> sp.csr_matrix:
    """Return the TF-IDF rows [n, V] of counts [n, V], of length 1 or 0."""
    weighted = counts.copy()
    weighted.data = np.log(weighted.data) + 1  # a word said ten times is not ten times as telling
    weighted = weighted.multiply(idf[None, :]).tocsr().astype(np.float32)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return (sp.diags(1 / np.maximum(lengths, 1e-12)) @ weighted).tocsr().astype(np.float32)
