"""Where an encoder comes from: fitted here (`embedded`), pretrained by name or folder, or read from a Rechead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rporec.encode.first_layout import TfidfEncoder, is_first_layout
from rporec.encode.kept import KeptVectors
from rporec.encode.static import StaticEncoder, is_static
from rporec.encode.vectors import Encoder

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Source:
    """Which encoder is wanted.

    Args:
        name: `embedded`, or name or folder of a sentence-transformers model.
        dim: width of the vectors of `embedded`; a pretrained one has its own.
        seed: of the fit of `embedded`.
        kept: folder of vectors, which outlives a run; `embedded` is fast and does without.
    """

    name: str
    dim: int
    seed: int
    kept: Path


def make_encoder(source: Source, texts: Sequence[str]) -> Encoder:
    """Fit the encoder on a catalogue's texts, or load it.

    Raises:
        InputError: a pretrained one cannot be loaded, or the texts hold no word at all.
    """
    if source.name == EMBEDDED:
        return StaticEncoder.fit(texts, source.dim, source.seed)
    from rporec.encode.pretrained import load_pretrained  # the import takes seconds

    encoder = load_pretrained(source.name)
    return KeptVectors(encoder, encoder.identity(), source.kept)


def identity_of(name: str) -> str:
    """Return what changes with the weights behind a name or folder, which stay the same while those change.

    Raises:
        InputError: a pretrained encoder cannot be loaded.
    """
    if name == EMBEDDED:
        return name
    from rporec.encode.pretrained import load_pretrained  # the import takes seconds

    return load_pretrained(name).identity()


def load_encoder(folder: Path, kept: Path | None = None) -> Encoder:
    """Read what an encoder's `save` wrote.

    Args:
        folder: of the encoder.
        kept: folder of vectors as in `Source`, None where texts are few; read by pretrained ones only.

    Raises:
        InputError, OSError, KeyError, ValueError, SafetensorError: a part is missing or damaged.
    """
    if is_first_layout(folder):
        return TfidfEncoder.load(folder)
    if is_static(folder):
        return StaticEncoder.load(folder)
    from rporec.encode.pretrained import load_pretrained  # the import takes seconds

    encoder = load_pretrained(folder)
    return encoder if kept is None else KeptVectors(encoder, encoder.identity(), kept)
