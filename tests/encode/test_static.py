"""The encoder `embedded`: unit rows, deterministic, the same after a load and for sentence-transformers itself."""

import subprocess
import sys

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from rporec.encode.source import EMBEDDED, Source, load_encoder, make_encoder
from rporec.encode.static import StaticEncoder
from rporec.errors import InputError
from tests.project import ROOT

TEXTS = ["red wool socks", "blue wool socks", "steel hammer 1/4 inch", "steel nails 1/4 inch", "nails nails nails"]
ODD = ["", "!?", "📦📦 日本語", "١٢٣ עברית", "a" * 30_000, "wool " * 20_000, "<think>", "ΟΔΟΣ ½ x² हिन्दी é", "\x00 x"]


@pytest.fixture
def encoder() -> StaticEncoder:
    return StaticEncoder.fit(TEXTS, dim=4, seed=1)


def test_rows_have_length_one_and_unknown_texts_are_zero(encoder):
    rows = encoder.encode([*TEXTS, "nothing known here", "WOOL!"])
    assert rows.shape == (7, encoder.dim) == (7, 4)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows[:5], axis=1), 1, atol=1e-5)
    assert (rows[5] == 0).all()
    assert np.allclose(np.linalg.norm(rows[6]), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, 4)


def test_like_texts_are_near(encoder):
    rows = encoder.encode(TEXTS)
    near, far = rows[0] @ rows[1], rows[0] @ rows[2]
    assert near > far + 0.3


def test_vectors_by_hand():
    """Two texts of one word each, equally rare: the SVD's axes are the words, a mean of both lies between them."""
    encoder = StaticEncoder.fit(["left", "right"], dim=2, seed=0)
    rows = encoder.encode(["left", "right", "left right", "left left right"])
    assert abs(rows[0] @ rows[1]) < 1e-6
    assert np.allclose(rows[2], (rows[0] + rows[1]) / np.sqrt(2), atol=1e-6)
    assert np.allclose(rows[3], (2 * rows[0] + rows[1]) / np.sqrt(5), atol=1e-6)  # a repeated word counts twice


def test_other_texts_of_the_call_do_not_matter(encoder):
    together = encoder.encode([*TEXTS, *ODD])
    alone = np.concatenate([encoder.encode([text]) for text in [*TEXTS, *ODD]])
    assert np.array_equal(together, alone)


def test_a_saved_encoder_is_the_same_and_a_fit_is_repeatable(encoder, tmp_path):
    encoder.save(tmp_path / "one")
    again = load_encoder(tmp_path / "one")
    assert isinstance(again, StaticEncoder)
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    made = make_encoder(Source(EMBEDDED, 4, 1, tmp_path / "kept"), TEXTS)
    made.save(tmp_path / "two")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
    assert not (tmp_path / "kept").exists()


def test_sentence_transformers_gives_the_same_vectors(tmp_path):
    encoder = StaticEncoder.fit([*TEXTS, *ODD], dim=6, seed=1)
    encoder.save(tmp_path)
    model = SentenceTransformer(str(tmp_path), device="cpu")
    assert model.get_embedding_dimension() == 6
    texts = [*TEXTS, *ODD, "never seen", "Hammer, BLUE; hammer 1/4"]
    theirs = np.asarray(model.encode(texts, show_progress_bar=False))
    np.testing.assert_allclose(encoder.encode(texts), theirs, atol=1e-6)
    assert np.abs(theirs).sum(axis=1).min() == 0  # the empty text
    assert encoder.values == sum(weight.numel() for weight in model.parameters())


def test_reading_it_does_not_import_the_heavy_library(encoder, tmp_path):
    encoder.save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from rporec.rechead.model import Rechead; "
        "from rporec.encode.source import load_encoder; load_encoder(Path(sys.argv[1])).encode(['wool']); "
        "sys.exit('sentence_transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False).returncode == 0


def test_more_columns_than_texts_span():
    encoder = StaticEncoder.fit(["one two", "three"], dim=8, seed=0)
    assert encoder.dim == 8
    assert (encoder.encode(["one"])[:, 2:] == 0).all()


def test_texts_without_a_word_are_refused():
    with pytest.raises(InputError, match="no word"):
        StaticEncoder.fit(["", "!?"], dim=4, seed=0)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_do_not_raise(encoder, text):
    rows = encoder.encode([text])
    assert rows.shape == (1, 4)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(("file", "text"), [("tokenizer.json", "{"), ("tokenizer.json", "{}"), ("modules.json", "[")])
def test_damaged_files_are_value_errors(encoder, tmp_path, file, text):
    encoder.save(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=r"\S"):
        load_encoder(tmp_path)


def test_parts_of_two_encoders_do_not_fit(encoder, tmp_path):
    encoder.save(tmp_path)
    StaticEncoder.fit(["other words"], dim=4, seed=0).save(tmp_path / "other")
    (tmp_path / "other" / "tokenizer.json").replace(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="3 words but"):
        load_encoder(tmp_path)
