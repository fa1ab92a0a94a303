"""Kept vectors: a text is encoded once; a killed encoding goes on; another encoder or text is encoded anew."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rporec.encode import kept
from rporec.encode.kept import KeptVectors
from rporec.encode.static import StaticEncoder

TEXTS = [f"item {number} of wool" for number in range(20)]


class Counting:
    """A real encoder that writes down what it was asked, and dies where told."""

    def __init__(self, seed: int = 1, dies_after: int = 10**9) -> None:
        self.inner = StaticEncoder.fit(TEXTS[: 10 + seed], 4, seed)
        self.asked: list[str] = []
        self.dies_after = dies_after
        self.dim, self.values = self.inner.dim, self.inner.values

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += texts
        return self.inner.encode(texts)

    def save(self, folder: Path) -> None:
        self.inner.save(folder)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(kept, "_SHARD", 5)


def test_a_text_is_encoded_once_and_comes_back_bit_by_bit(tmp_path):
    first, second = Counting(), Counting()
    rows = KeptVectors(first, "one", tmp_path).encode([*TEXTS, TEXTS[0]])
    assert first.asked == TEXTS
    again = KeptVectors(second, "one", tmp_path).encode([TEXTS[3], TEXTS[0]])
    assert second.asked == []
    assert np.array_equal(again, rows[[3, 0]])
    assert np.array_equal(rows, first.inner.encode([*TEXTS, TEXTS[0]]))
    assert KeptVectors(second, "one", tmp_path).encode([]).shape == (0, 4)


def test_a_killed_encoding_goes_on(tmp_path):
    dying, after, whole = Counting(dies_after=10), Counting(), Counting()
    with pytest.raises(KeyboardInterrupt):
        KeptVectors(dying, "one", tmp_path).encode(TEXTS)
    rows = KeptVectors(after, "one", tmp_path).encode(TEXTS)
    assert dying.asked == TEXTS[:10]
    assert after.asked == TEXTS[10:]
    assert np.array_equal(rows, KeptVectors(whole, "one", tmp_path / "other").encode(TEXTS))


def test_an_added_and_a_changed_text_alone_are_encoded(tmp_path):
    KeptVectors(Counting(), "one", tmp_path).encode(TEXTS)
    second = Counting()
    changed = [*TEXTS[:4], TEXTS[4] + "!", *TEXTS[5:], "one more"]
    KeptVectors(second, "one", tmp_path).encode(changed)
    assert second.asked == [TEXTS[4] + "!", "one more"]


def test_another_encoders_vectors_are_not_used(tmp_path):
    one, two = Counting(seed=1), Counting(seed=2)
    KeptVectors(one, "one", tmp_path).encode(TEXTS)
    rows = KeptVectors(two, "two", tmp_path).encode(TEXTS)
    assert two.asked == TEXTS
    assert np.array_equal(rows, two.inner.encode(TEXTS))


def test_a_shard_that_cannot_be_read_is_encoded_again(tmp_path, caplog):
    KeptVectors(Counting(), "one", tmp_path).encode(TEXTS)
    shard = sorted((tmp_path / "one").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:40])
    second = Counting()
    with caplog.at_level(logging.WARNING):
        rows = KeptVectors(second, "one", tmp_path).encode(TEXTS)
    assert len(second.asked) == 5
    assert "cannot be read" in caplog.text
    assert np.array_equal(rows, second.inner.encode(TEXTS))
    third = Counting()
    KeptVectors(third, "one", tmp_path).encode(TEXTS)
    assert third.asked == []


def test_shards_stay_few_and_lose_nothing_while_texts_are_few(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_MOST_SHARDS", 3)
    many = KeptVectors(Counting(), "one", tmp_path)
    for text in TEXTS:
        many.encode([text])
        assert len(list((tmp_path / "one").iterdir())) <= 3
    second = Counting()
    rows = KeptVectors(second, "one", tmp_path).encode(TEXTS)
    assert second.asked == []
    assert np.array_equal(rows, second.inner.encode(TEXTS))


def test_texts_that_were_not_asked_for_longest_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_MOST_SHARDS", 3)
    monkeypatch.setattr(kept, "_MOST_TEXTS", 12)
    items, thoughts = TEXTS[:5], [f"thought {number}" for number in range(40)]
    for night in range(8):
        one = Counting()
        night_vectors = KeptVectors(one, "one", tmp_path)
        night_vectors.encode(items)
        assert one.asked == (items if night == 0 else [])
        night_vectors.encode(thoughts[5 * night : 5 * night + 5])
        assert len(KeptVectors(Counting(), "one", tmp_path)._found) <= 12 + 3 * 5
    last = Counting()
    KeptVectors(last, "one", tmp_path).encode(thoughts)
    assert thoughts[0] in last.asked
    assert thoughts[-1] not in last.asked


def test_a_kill_while_shards_become_one_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_MOST_SHARDS", 3)

    def die(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".safetensors":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            KeptVectors(Counting(), "one", tmp_path).encode(TEXTS)
    second = Counting()
    rows = KeptVectors(second, "one", tmp_path).encode(TEXTS)
    assert second.asked == []
    assert np.array_equal(rows, second.inner.encode(TEXTS))
    assert len(list((tmp_path / "one").iterdir())) == 1
