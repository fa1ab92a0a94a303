"""The text encoder: unit rows, deterministic, the same after a load, sparse words tell apart what dense rows blur."""

import numpy as np
import pytest

from rporec.encode import TextEncoder, unit, words_of
from rporec.errors import InputError

TEXTS = ["red wool scarf", "blue wool scarf", "steel hammer 1/4", "steel hammer 3.5", "garden hose", ""]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.fit(TEXTS, dim=4, seed=1)


def test_rows_have_length_one_and_unknown_texts_are_zero(encoder):
    rows = encoder.encode([*TEXTS, "nothing known here", "WOOL!"])
    assert rows.dtype == np.float32
    assert rows.shape == (8, 4)
    lengths = np.linalg.norm(rows, axis=1)
    assert np.allclose(lengths[[0, 1, 2, 3, 7]], 1, atol=1e-6)
    assert (lengths[[5, 6]] == 0).all()


def test_like_texts_are_near(encoder):
    rows = encoder.encode(TEXTS)
    assert rows[0] @ rows[1] > 0.9
    assert abs(rows[0] @ rows[2]) < 0.1


def test_lexical_rows_by_hand():
    encoder = TextEncoder.fit(["a b", "a c"], dim=2, seed=0)
    row = encoder.lexical(["a b b"]).toarray()[0]
    # idf: a in both texts ln(3/3) + 1 = 1; b in one ln(3/2) + 1; b said twice counts ln 2 + 1.
    expected = np.array([1.0, (np.log(1.5) + 1) * (np.log(2) + 1), 0.0])
    assert np.allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


def test_sizes_stay_whole():
    assert words_of("M-12 bolt, 1/4 in. (3.5)") == ["m-12", "bolt", "1/4", "in", "3.5"]


def test_other_texts_of_the_call_do_not_matter(encoder):
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.array_equal(together, alone)


def test_a_saved_encoder_is_the_same_and_a_fit_is_repeatable(encoder, tmp_path):
    encoder.save(tmp_path)
    again = TextEncoder.load(tmp_path)
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert np.array_equal(TextEncoder.fit(TEXTS, dim=4, seed=1).encode(TEXTS), encoder.encode(TEXTS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.safetensors", "vocabulary.json"]


def test_more_dimensions_than_texts_are_zero():
    encoder = TextEncoder.fit(["one two", "three"], dim=8, seed=0)
    assert encoder.dim == 8
    assert (encoder.encode(["one"])[:, 2:] == 0).all()


def test_texts_without_a_word_are_refused():
    with pytest.raises(InputError, match="no word"):
        TextEncoder.fit(["", "!?"], dim=4, seed=0)


@pytest.mark.parametrize("text", ["<think>", "\u202eabc", "x" * 200_000, "😀 🎉", "\x00"])
def test_odd_texts_do_not_raise(encoder, text):
    assert encoder.encode([text]).shape == (1, 4)


def test_unit_keeps_zero_rows():
    assert np.array_equal(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), np.array([[0.6, 0.8], [0.0, 0.0]]))
