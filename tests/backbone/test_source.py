"""Writers from folders and names: chat templates, and clear refusals."""

import pytest
import torch

from rporec.backbone.source import load_writer
from rporec.errors import InputError
from tests.backbone.models import llama, qwen3


def test_a_chat_template_wraps_the_prompt_once():
    writer = llama()
    assert writer.render("hello") == "<|user|>hello<|model|>"
    assert writer.tokenizer.decode(writer.encode("hello")) == "<|user|>hello<|model|>"
    assert writer.count("hello") == len(writer.encode("hello"))


def test_without_a_chat_template_the_prompt_is_read_as_it_is():
    writer = llama(chat=False)
    assert writer.render("hello") == "hello"
    assert writer.tokenizer.decode(writer.encode("hello")) == "hello"


def test_a_saved_llama_comes_back_with_its_template(tmp_path):
    llama().save(tmp_path)
    back = load_writer(tmp_path)
    assert back.render("hello") == "<|user|>hello<|model|>"
    assert not back.model.training
    assert load_writer(str(tmp_path), "bfloat16").model.dtype == torch.bfloat16


def test_decoding_drops_the_end_token_only():
    writer = qwen3()
    ids = writer.tokenizer("<think>a</think>")["input_ids"]
    assert writer.decode([*ids, writer.eos_id]) == "<think>a</think>"
    assert writer.decode(ids) == "<think>a</think>"
    assert writer.decode([]) == ""


@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "nonsense name", "/no/such/folder"])
def test_a_name_that_cannot_be_reached_says_what_to_set(name):
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_writer(name)
    message = caught.value.message()
    assert "backbone.name" in message
    assert name in message
    assert "HF_HOME" in message


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        load_writer(tmp_path)


def test_a_truncated_weight_file_is_refused(tmp_path):
    qwen3().save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_writer(tmp_path)


def test_pickled_weights_are_refused(tmp_path):
    writer = qwen3()
    writer.save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_writer(tmp_path)


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path):
    writer = qwen3()
    writer.tokenizer.eos_token = None
    writer.save(tmp_path)
    with pytest.raises(InputError, match="end token"):
        load_writer(tmp_path)


def test_the_context_limits_the_prompt():
    writer = llama()
    assert writer.prompt_budget(40, 32) == 40
    assert writer.prompt_budget(500, 32) == 64
    with pytest.raises(InputError, match="shorter than a completion"):
        writer.prompt_budget(10, 96)
