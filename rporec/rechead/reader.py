"""What the Rechead sees of reasoning: thought and answer as vectors, and how well each item's line matches the answer.

Everything lives in text space, so it stays true when the head is refitted and its ids move. Fixed once fitted; what is
learned about it is in `rporec.rechead.residual`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor

from rporec.encode.first_layout import TfidfEncoder
from rporec.encode.lexicon import Lexicon
from rporec.encode.source import load_encoder
from rporec.encode.vectors import Encoder
from rporec.errors import InputError
from rporec.files import atomic_file, sha256_path
from rporec.reasoning.parse import Parsed
from rporec.rechead.products import gather

_CACHE_CELLS = 1 << 23  # 32 MB of float32
_ENCODER = "encoder"

Reasoning = Sequence[Sequence[Parsed]]


@dataclass(frozen=True)
class Evidence:
    """The S well-formed samples of B groups.

    Args:
        groups: B.
        owner: [S] place of each sample's group.
        thought: [S, T] vectors of the thoughts.
        answer: [S, T] vectors of the answers.
        match: [S, N] cosine, 0 to 1, of the answer's words and each item's line.
    """

    groups: int
    owner: Tensor
    thought: Tensor
    answer: Tensor
    match: Tensor

    def counts(self) -> Tensor:
        """Return the samples of each group, [B, 1]."""
        return torch.bincount(self.owner, minlength=self.groups)[:, None].float()

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over each group's samples of `values` [S, X], [B, X]; zero for a group without any."""
        total = values.new_zeros(self.groups, values.shape[1]).index_add(0, self.owner, values)
        return total / self.counts().clamp(min=1)


class Reader:
    """Turns parsed reasoning into evidence.

    Args:
        encoder: of texts.
        lexicon: fitted on the catalogue.
        items: [N, T] vectors of the items' full texts.
        lines: [N, V] TF-IDF rows of the items' lines, the form in which answers are written.
        digests: [N, 32] hashes of the items' full texts; none in a Rechead of the first layout.
    """

    def __init__(
        self, encoder: Encoder, lexicon: Lexicon, items: np.ndarray, lines: sp.csr_matrix, digests: np.ndarray | None
    ) -> None:
        self.encoder, self.lexicon, self.items = encoder, lexicon, torch.from_numpy(items)
        self._lines, self._digests = lines, digests
        self._by_term = lines.T.tocsr()  # [V, N]
        self._answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._thoughts: dict[str, np.ndarray] = {}

    @staticmethod
    def fit(encoder: Encoder, texts: Sequence[str], lines: Sequence[str]) -> Reader:
        """Build from the full texts and the lines of N items."""
        lexicon = Lexicon.fit([*texts, *lines])
        return Reader(encoder, lexicon, encoder.encode(texts), lexicon.rows(lines), _digests(texts))

    def grown(self, texts: Sequence[str], lines: Sequence[str]) -> Reader:
        """Return the reader with items of these full texts and lines behind its own; encoder and lexicon stay."""
        items = np.concatenate([self.items.numpy(), self.encoder.encode(texts).astype(np.float32)])
        told = sp.vstack([self._lines, self.lexicon.rows(lines)], format="csr")
        digests = None if self._digests is None else np.concatenate([self._digests, _digests(texts)])
        return Reader(self.encoder, self.lexicon, items, told, digests)

    def identity(self) -> str:
        """Return a hash of the items' vectors, hexadecimal, which changes with the encoder's weights."""
        return hashlib.sha256(self.items.numpy().tobytes()).hexdigest()[:16]

    def changed(self, texts: Sequence[str]) -> list[int]:
        """Return the items whose full text is not the one that was read, N texts; all where that is not known."""
        if self._digests is None:
            return list(range(len(texts)))
        return [int(item) for item in np.flatnonzero((_digests(texts) != self._digests).any(axis=1))]

    def read(self, reasoning: Reasoning) -> Evidence:
        """Read the samples of B groups; a sample that is not well formed counts as absent."""
        samples = [(place, one) for place, group in enumerate(reasoning) for one in group if one.well_formed]
        self._learn([one.thought for _, one in samples], [one.answer for _, one in samples])
        width, n_items = self.items.shape[1], self.items.shape[0]
        thought, answer = np.zeros((len(samples), width), np.float32), np.zeros((len(samples), width), np.float32)
        match = np.zeros((len(samples), n_items), np.float32)
        for row, (_, one) in enumerate(samples):
            thought[row] = self._thoughts[one.thought]
            answer[row], match[row] = self._answers[one.answer]
        owner = torch.tensor([place for place, _ in samples], dtype=torch.int64)
        tensors = (torch.from_numpy(thought), torch.from_numpy(answer), torch.from_numpy(match))
        return Evidence(len(reasoning), owner, *tensors)

    def _learn(self, thoughts: list[str], answers: list[str]) -> None:
        """Encode each text that is not known yet once."""
        if len(self._answers) * len(self.items) + len(self._thoughts) * self.items.shape[1] > _CACHE_CELLS:
            self._answers.clear()
            self._thoughts.clear()
        new_thoughts = [text for text in dict.fromkeys(thoughts) if text not in self._thoughts]
        if new_thoughts:
            self._thoughts.update(zip(new_thoughts, self.encoder.encode(new_thoughts), strict=True))
        new_answers = [text for text in dict.fromkeys(answers) if text not in self._answers]
        if new_answers:
            pairs = zip(self.encoder.encode(new_answers), self._match(new_answers), strict=True)
            self._answers.update(zip(new_answers, pairs, strict=True))

    def _match(self, answers: list[str]) -> np.ndarray:
        """Return the cosine of the words of A answers and each item's line, [A, N] float32."""
        words = self.lexicon.rows(answers)
        if len(answers) == 1:
            return gather(self._by_term, words.indices, words.data).astype(np.float32)[None]
        return np.asarray((words @ self._by_term).toarray(), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write text/ (the encoder), words/ (the lexicon) and reader.safetensors into `folder`."""
        for name, part in (("text", self.encoder), ("words", self.lexicon)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            part.save(folder / name)
        tensors = {
            "items": self.items.numpy(),
            "lines_data": self._lines.data,
            "lines_indices": self._lines.indices.astype(np.int64),
            "lines_indptr": self._lines.indptr.astype(np.int64),
        }
        if self._digests is not None:
            tensors["digests"] = self._digests
        with atomic_file(folder / "reader.safetensors") as temporary:
            save_file(tensors, temporary, metadata={_ENCODER: sha256_path(folder / "text")})

    @staticmethod
    def load(folder: Path, vectors: Path | None = None) -> Reader:
        """Read what `save` wrote; a pretrained encoder's vectors are kept below `vectors`, if that is given.

        Raises:
            InputError: the encoder is not the one that the Rechead was trained with, by hash.
        """
        _require_encoder(folder)
        encoder = load_encoder(folder / "text", vectors)
        lexicon = encoder.lexicon if isinstance(encoder, TfidfEncoder) else Lexicon.load(folder / "words")
        stored = load_file(folder / "reader.safetensors")
        shape = (len(stored["items"]), len(lexicon.vocabulary))
        lines = sp.csr_matrix((stored["lines_data"], stored["lines_indices"], stored["lines_indptr"]), shape=shape)
        return Reader(encoder, lexicon, stored["items"], lines, stored.get("digests"))


def _require_encoder(folder: Path) -> None:
    with safe_open(folder / "reader.safetensors", framework="np") as stored:
        trained = (stored.metadata() or {}).get(_ENCODER)  # Recheads of earlier versions do not say
    if trained is None:
        return
    found = sha256_path(folder / "text")
    if trained != found:
        raise InputError(
            "the Rechead was trained for another text encoder", file=folder, field="text", value=found[:16],
            rule=trained[:16], cure="run the stage rechead again (make run), or fetch the package again",
        )  # fmt: skip


def _digests(texts: Sequence[str]) -> np.ndarray:
    joined = b"".join(hashlib.sha256(text.encode()).digest() for text in texts)
    return np.frombuffer(joined, np.uint8).reshape(len(texts), -1)
