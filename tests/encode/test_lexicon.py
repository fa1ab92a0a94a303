"""The lexicon: TF-IDF rows by hand, sizes and part numbers whole, the same after a load."""

import numpy as np
import pytest

from rporec.encode.lexicon import Lexicon, words_of
from rporec.encode.vectors import unit
from rporec.errors import InputError

TEXTS = ["red wool socks", "blue wool socks", "steel hammer 1/4 inch"]


def test_rows_by_hand():
    row = Lexicon.fit(["a b", "a c"]).rows(["a b b"]).toarray()[0]
    # idf: a is in both of 2 texts, b and c in one; two b count as 1 + ln 2
    a, b = 1.0, (np.log(3 / 2) + 1) * (1 + np.log(2))
    assert np.allclose(row, np.array([a, b, 0]) / np.hypot(a, b), atol=1e-6)


def test_words_keep_sizes_and_part_numbers_whole():
    assert words_of("M-12 Bolt, 1/4 in. (3.5 mm)") == ["m-12", "bolt", "1/4", "in", "3.5", "mm"]


def test_a_saved_lexicon_is_the_same(tmp_path):
    lexicon = Lexicon.fit(TEXTS)
    lexicon.save(tmp_path)
    again = Lexicon.load(tmp_path)
    assert again.vocabulary == lexicon.vocabulary
    assert (again.rows(TEXTS) != lexicon.rows(TEXTS)).nnz == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lexicon.safetensors", "vocabulary.json"]


def test_unknown_and_empty_texts_are_empty_rows():
    rows = Lexicon.fit(TEXTS).rows(["", "unheard", "wool"])
    assert np.diff(rows.indptr).tolist() == [0, 0, 1]


def test_texts_without_a_word_are_refused():
    with pytest.raises(InputError, match="no word"):
        Lexicon.fit(["", "!?"])


def test_unit_keeps_zero_rows():
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]
