"""Pickles are known by their bytes, under every name; what people and tokenizers write is not taken for one."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

from rporec.release.content import SUFFIXES, fits_its_suffix, is_pickle


class _Runs:
    """What makes a pickle dangerous."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def _dumped(dump: Callable[[object, io.BytesIO], object], value: object) -> bytes:
    stream = io.BytesIO()
    dump(value, stream)
    return stream.getvalue()


STATE = {"weight": torch.zeros(2, 2)}
PICKLES = {
    **{f"data-{protocol}": pickle.dumps({"a": [1, 2]}, protocol) for protocol in range(6)},
    **{f"code-{protocol}": pickle.dumps(_Runs(), protocol) for protocol in range(6)},
    "code-0-and-text": pickle.dumps(_Runs(), 0) + b"\nand a harmless looking end",
    "torch-zip": _dumped(torch.save, STATE),
    "torch-old": _dumped(lambda value, to: torch.save(value, to, _use_new_zipfile_serialization=False), STATE),
    "joblib": _dumped(joblib.dump, {"a": np.zeros(3)}),
    "numpy-objects": _dumped(lambda value, to: np.save(to, value), np.array([{"a": 1}], dtype=object)),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_no_name_lets_a_pickle_in(kind: str, tmp_path: Path) -> None:
    for suffix in (*sorted(SUFFIXES), ".pkl", ".pt", ".pth", ".bin", ".joblib", ".npy", ""):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(PICKLES[kind])
        assert not fits_its_suffix(path), suffix


def test_a_mark_before_or_behind_a_pickle_does_not_help(tmp_path: Path) -> None:
    for name, content in (
        ("a.parquet", b"PAR1" + PICKLES["code-4"]), ("b.parquet", PICKLES["code-4"] + b"PAR1"),
        ("c.safetensors", b"\x80\x04\x95" + b"\0" * 5 + b"{" + PICKLES["code-4"]),
        ("d.safetensors", PICKLES["torch-zip"]), ("e.json", b"[1]" + PICKLES["code-0"]), ("f.json", b""),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert not fits_its_suffix(tmp_path / name), name


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "N. America", "2. Then the second", "1.", "0.5", "a. first\nb. second", "]. ", "(t) is the time.",
        "I am text.", "Vocabulary\n.", "{{ messages }}\n", "# Card\n\n- as `x.y`\n", "the\n##ing\nN\n.\n",
        "Größe 日本 🙂", "tabs\tand\r\nlines\n", "cos of the angle\nis small.", "S'moon\n.", "F1.5\n",
    ],
)  # fmt: skip
def test_text_is_no_pickle(text: str, tmp_path: Path) -> None:
    assert not is_pickle(text.encode())
    for suffix in (".txt", ".md", ".html", ".csv", ".jinja"):
        (tmp_path / f"file{suffix}").write_bytes(text.encode())
        assert fits_its_suffix(tmp_path / f"file{suffix}")


def test_brackets_without_end_are_no_json(tmp_path: Path) -> None:
    deep = b"[" * 200_000
    (tmp_path / "a.json").write_bytes(deep)
    (tmp_path / "b.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    assert not any(fits_its_suffix(path) for path in tmp_path.iterdir())


def test_what_a_package_is_made_of_fits(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    save_file({"x": np.zeros(2, dtype=np.float32)}, tmp_path / "x.safetensors")
    (tmp_path / "n.json").write_text(json.dumps({"N": ["."]}))
    assert all(fits_its_suffix(path) for path in tmp_path.iterdir())
