"""Random numbers by key: independent of order, even, different between streams."""

import numpy as np

from rporec.data.draws import choices, normals, uniforms, uniforms_of, words

KEYS = np.arange(20_000)


def test_a_draw_depends_on_its_key_alone():
    whole = uniforms(3, "s", KEYS)
    assert np.array_equal(uniforms(3, "s", KEYS[::-1])[::-1], whole)
    assert np.array_equal(uniforms(3, "s", KEYS[77:78]), whole[77:78])


def test_streams_seeds_and_keys_are_apart():
    whole = uniforms(3, "s", KEYS)
    for other in (uniforms(4, "s", KEYS), uniforms(3, "t", KEYS), uniforms(3, "s", KEYS, np.array([1]))):
        assert abs(np.corrcoef(whole, other)[0, 1]) < 0.03


def test_distributions():
    whole = uniforms(3, "s", KEYS)
    assert whole.min() > 0
    assert whole.max() < 1
    assert abs(whole.mean() - 0.5) < 0.01
    assert np.bincount(choices(3, "c", 4, KEYS), minlength=4).min() > 4_700
    bell = normals(3, "n", KEYS)
    assert abs(bell.mean()) < 0.03
    assert abs(bell.std() - 1) < 0.03


def test_numbered_draws_of_one_word_are_independent_and_depend_on_it_alone():
    word = words(3, "s", KEYS)
    draws = [uniforms_of(word, number) for number in range(4)]
    assert np.array_equal(uniforms_of(word, np.arange(4)[:, None]), draws)
    assert np.array_equal(uniforms_of(word[5:6], 2), draws[2][5:6])
    apart = np.corrcoef([uniforms(3, "s", KEYS), *draws]) - np.eye(5)
    assert np.abs(apart).max() < 0.03
    assert np.abs(np.mean(draws, axis=1) - 0.5).max() < 0.01
