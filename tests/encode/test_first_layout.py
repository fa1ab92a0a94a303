"""Text encoders of the first package layout: the bytes that were written then give the vectors of then."""

import json

import numpy as np
from safetensors.numpy import save_file

from rporec.encode.first_layout import TfidfEncoder
from rporec.encode.source import load_encoder


def test_a_folder_of_the_first_layout_is_read(tmp_path):
    (tmp_path / "vocabulary.json").write_text(json.dumps(["felt", "wool"]))
    tensors = {"idf": np.array([2, 1], np.float32), "components": np.array([[1, 0], [0, 1]], np.float32)}
    save_file(tensors, tmp_path / "encoder.safetensors")
    encoder = load_encoder(tmp_path)
    assert isinstance(encoder, TfidfEncoder)
    assert (encoder.dim, encoder.values) == (2, 4)
    rows = encoder.encode(["felt wool wool", "Wool!", "unheard"])
    twice = 1 + np.log(2)  # of two equal words
    assert np.allclose(rows, [np.array([2, twice]) / np.hypot(2, twice), [0, 1], [0, 0]], atol=1e-6)
    encoder.save(tmp_path / "again")
    assert np.array_equal(load_encoder(tmp_path / "again").encode(["felt wool"]), encoder.encode(["felt wool"]))
