"""The embedded backbone: a lossless tokenizer with single-token tags, weights by seed, a folder like any other."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rporec.backbone.embedded import END, PAD, Shape, build_model, train_tokenizer
from rporec.backbone.source import Writer, load_writer
from rporec.reasoning.parse import TAGS
from rporec.reasoning.prompt import INSTRUCTION, LINE, OPENING
from tests.backbone.models import TEXTS

WORDS = train_tokenizer(TEXTS * 5, 330, 128)


@pytest.mark.parametrize("text", [*TAGS, OPENING, LINE, INSTRUCTION, END, PAD])
def test_fixed_texts_are_one_token(text):
    assert len(WORDS(text)["input_ids"]) == 1


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_survives(text):
    assert WORDS.decode(WORDS(text)["input_ids"]) == text


def test_tags_stay_when_special_tokens_are_skipped():
    ids = WORDS(f"<think>a</think><answer>b</answer>{END}{PAD}")["input_ids"]
    assert WORDS.decode(ids, skip_special_tokens=True) == "<think>a</think><answer>b</answer>"


def test_the_vocabulary_keeps_its_size():
    assert len(WORDS) <= 330
    assert WORDS.model_max_length == 128


def test_same_texts_same_tokenizer():
    again = train_tokenizer(TEXTS * 5, 330, 128)
    assert again.backend_tokenizer.to_str() == WORDS.backend_tokenizer.to_str()


def test_weights_depend_on_the_seed_alone_and_leave_the_random_state():
    shape = Shape(width=16, layers=1, heads=2, context=64)
    torch.manual_seed(1)
    one = build_model(WORDS, shape, 5).state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    two, other = build_model(WORDS, shape, 5).state_dict(), build_model(WORDS, shape, 6).state_dict()
    name = "model.embed_tokens.weight"
    assert torch.equal(one[name], two[name])
    assert not torch.equal(one[name], other[name])


def test_the_folder_comes_back_and_has_the_same_bytes(tmp_path):
    writer = Writer(build_model(WORDS, Shape(width=16, layers=1, heads=2, context=64), 5).eval(), WORDS)
    for name in ("one", "two"):
        writer.save(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    for name in files:
        digests = {hashlib.sha256((tmp_path / part / name).read_bytes()).hexdigest() for part in ("one", "two")}
        assert len(digests) == 1
    back = load_writer(tmp_path / "one")
    ids = torch.tensor([WORDS("Acme steel")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(back.model(ids).logits, writer.model(ids).logits)
    assert back.encode("Acme steel") == writer.encode("Acme steel")
    assert (back.eos_id, back.context) == (writer.eos_id, 64)
    assert back.model.config.tie_word_embeddings
