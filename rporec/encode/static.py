"""The encoder `embedded`: one vector a word, fitted on the catalogue, a text being the mean of its words' vectors.

The vectors are the axes of a truncated SVD of the catalogue's TF-IDF rows, times the words' inverse document
frequency. Kept as a sentence-transformers folder (StaticEmbedding + Normalize), which `SentenceTransformer(folder)`
loads too, with the same vectors; read here without that library, whose import takes longer than a request may.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from sklearn.utils.extmath import randomized_svd
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from rporec.encode.lexicon import counts_of, idf_of, vocabulary_of, weigh
from rporec.encode.vectors import Matrix, unit
from rporec.files import atomic_file, read_json, write_json

_UNKNOWN = "[UNK]"  # no word of a text looks so; its vector is 0
_WORD = r"[\p{L}\p{N}_]+(?:[.\-/][\p{L}\p{N}_]+)*"  # as in the lexicon: \w here would take accents for letters
_MOST_WORDS = 4096  # of one text; more is not a description
_SVD_PASSES = 5  # power iterations; enough for cosines to settle to 3 digits
_TOKENIZER, _WEIGHTS, _MODULES, _NORMALIZE = "tokenizer.json", "model.safetensors", "modules.json", "1_Normalize"
_KINDS = ("sentence_transformers.models.StaticEmbedding", ""), ("sentence_transformers.models.Normalize", _NORMALIZE)
_LAYOUT = [{"idx": place, "name": str(place), "path": path, "type": kind} for place, (kind, path) in enumerate(_KINDS)]


class StaticEncoder:
    """A fitted static embedding.

    Args:
        tokenizer: texts to V words.
        weights: [V, D] float32, the words' vectors; row 0 is 0.
    """

    def __init__(self, tokenizer: Tokenizer, weights: np.ndarray) -> None:
        self._tokenizer, self._weights = tokenizer, weights

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self._weights.shape[1])

    @property
    def values(self) -> int:
        """Number of entries of the words' vectors."""
        return int(self._weights.size)

    @staticmethod
    def fit(texts: Sequence[str], dim: int, seed: int) -> StaticEncoder:
        """Fit on a catalogue's texts.

        Args:
            texts: one or several texts an item.
            dim: D; columns beyond what the texts can span are zero.
            seed: of the randomised SVD.

        Raises:
            InputError: the texts hold no word at all.
        """
        splitter = _tokenizer({})
        words = [_split(splitter, text) for text in texts]
        vocabulary = vocabulary_of(words)
        counts = counts_of(words, vocabulary)
        idf = idf_of(counts)
        rank = min(dim, len(vocabulary), len(texts))
        _, _, axes = randomized_svd(weigh(counts, idf), rank, n_iter=_SVD_PASSES, random_state=seed)  # [rank, V - 1]
        weights = np.zeros((1 + len(vocabulary), dim), np.float32)
        weights[1:, :rank] = axes.T * idf[:, None]
        return StaticEncoder(_tokenizer(vocabulary), weights)

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return vectors [n, D] float32, rows of length 1; zero for a text without a known word."""
        found = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        ends = np.cumsum([0, *(len(ids) for ids in found)])
        flat = np.fromiter((place for ids in found for place in ids), np.int64, int(ends[-1]))
        counts = sp.csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(found), len(self._weights)))
        return unit(np.asarray(counts @ self._weights, dtype=np.float32))

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder."""
        write_json(folder / _MODULES, _LAYOUT)
        write_json(folder / _NORMALIZE / "config.json", {})
        write_json(
            folder / "config_sentence_transformers.json",
            {"model_type": "SentenceTransformer", "prompts": {}, "similarity_fn_name": "cosine"},
        )
        with atomic_file(folder / _TOKENIZER) as temporary:
            self._tokenizer.save(str(temporary))
        with atomic_file(folder / _WEIGHTS) as temporary:
            save_file({"embedding.weight": self._weights}, temporary)

    @staticmethod
    def load(folder: Path) -> StaticEncoder:
        """Read what `save` wrote.

        Raises:
            OSError, KeyError, ValueError, SafetensorError: a part is missing or damaged.
        """
        weights = load_file(folder / _WEIGHTS)["embedding.weight"]
        text = (folder / _TOKENIZER).read_text(encoding="utf-8")
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:
            raise ValueError(f"{_TOKENIZER} cannot be read: {error}") from error
        if tokenizer.get_vocab_size() != len(weights):
            raise ValueError(f"{tokenizer.get_vocab_size()} words but {len(weights)} vectors")
        return StaticEncoder(tokenizer, weights)


def is_static(folder: Path) -> bool:
    """Whether `StaticEncoder.save` wrote this folder."""
    return (folder / _MODULES).is_file() and read_json(folder / _MODULES) == _LAYOUT


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    words = {_UNKNOWN: 0} | {word: 1 + column for word, column in vocabulary.items()}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    tokenizer.enable_truncation(_MOST_WORDS)
    return tokenizer


def _split(tokenizer: Tokenizer, text: str) -> list[str]:
    lowered = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(lowered)][:_MOST_WORDS]
