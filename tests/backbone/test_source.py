"""Writers from folders and names: chat templates, and clear refusals."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from huggingface_hub import constants as hub_constants

from infra.children import free_port
from rporec import reach
from rporec.backbone.source import cast, load_writer
from rporec.errors import InputError
from tests.backbone.models import CHAT, llama, qwen3
from tests.encode.models import bert


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


def test_writing_ends_at_the_end_tokens_of_the_model_too_and_learning_at_the_tokenizer_s(tmp_path):
    writer = llama()
    assert writer.end_ids == [writer.eos_id]
    writer.model.generation_config.eos_token_id = [301, writer.eos_id]
    writer.save(tmp_path)
    back = load_writer(tmp_path)
    assert (back.eos_id, back.end_ids) == (writer.eos_id, [writer.eos_id, 301])
    ids = writer.tokenizer("<think>a</think>")["input_ids"]
    assert back.decode([*ids, 301]) == back.decode([*ids, writer.eos_id]) == "<think>a</think>"
    for stated, ends in ((301, [writer.eos_id, 301]), (None, [writer.eos_id])):
        writer.model.generation_config.eos_token_id = stated
        assert writer.end_ids == ends


@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "nonsense name", "/no/such/folder"])
def test_a_name_that_cannot_be_reached_says_what_to_set(name):
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_writer(name)
    message = caught.value.message()
    assert "backbone.name" in message
    assert name in message
    assert "HF_HOME" in message


def test_offline_by_choice_is_named(monkeypatch):
    monkeypatch.setattr(reach, "is_offline_mode", lambda: True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        load_writer("no-such-owner/no-such-model")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of the test's own: HF_HUB_OFFLINE unset, an empty cache, its address given to `hub(url)`."""

    def at(address):
        monkeypatch.setattr(reach, "is_offline_mode", lambda: False)
        monkeypatch.setattr(reach, "try_to_load_from_cache", lambda name, file: None)
        monkeypatch.setattr(reach, "hf_hub_url", lambda name, file: f"{address}/{name}/resolve/main/{file}")
        monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)

    return at


def test_without_a_network_it_is_said_at_once(hub):
    hub(f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(InputError, match="the hub cannot be reached") as caught:
        load_writer("some-owner/some-model")
    assert time.monotonic() - started < 30
    assert "HF_ENDPOINT" in caught.value.message()


@pytest.mark.parametrize(
    ("status", "header", "word"),
    [
        (404, "RepoNotFound", "knows no such model"),
        (401, "RepoNotFound", "HF_TOKEN"),
        (403, "GatedRepo", "accept the terms"),
        (500, "", "cannot be reached"),
    ],
)
def test_a_hub_that_refuses_is_told_apart(hub, status, header, word):
    with refusing(status, header) as address:
        hub(address)
        with pytest.raises(InputError, match=word):
            load_writer("some-owner/some-model")


def test_a_model_in_the_cache_needs_no_network(hub, monkeypatch):
    hub(f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(reach, "try_to_load_from_cache", lambda name, file: "/cache/config.json")
    assert reach.must_use_cache("some-owner/some-model")
    monkeypatch.setattr(reach, "is_offline_mode", lambda: True)
    monkeypatch.setattr(reach, "get_hf_file_metadata", lambda *_, **__: pytest.fail("asked the hub although offline"))
    assert reach.must_use_cache("some-owner/some-model")


@contextmanager
def refusing(status, header):
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.send_header("X-Error-Code", header)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_casting_leaves_buffers_alone_and_equals_a_loaded_model(tmp_path):
    writer = llama()
    cast(writer.model, "bfloat16")
    writer.save(tmp_path)
    back = load_writer(tmp_path, "bfloat16").model
    assert {weight.dtype for weight in back.parameters()} == {torch.bfloat16}
    ids = torch.tensor([writer.encode("steel hammer")])
    with torch.no_grad():
        assert torch.equal(writer.model(ids).logits, back(ids).logits)


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


def refused(folder):
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_writer(folder)
    message = caught.value.message()
    assert str(folder) in message
    assert "cure:" in message
    return message


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("make", "changes", "words"),
    [
        (llama, {"num_hidden_layers": 4}, "18 of its weights are missing: model.layers.2.input_layernorm.weight"),
        (qwen3, {"tie_word_embeddings": False}, "1 of its weights are missing: lm_head.weight"),
        (llama, {"intermediate_size": 64}, "6 of its weights have another shape than its configuration says: model."),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_refused(tmp_path, make, changes, words):
    make().save(tmp_path)
    load_writer(tmp_path)
    configured(tmp_path, **changes)
    assert words in refused(tmp_path)


def test_an_encoder_is_no_writer(tmp_path):
    assert "weights are missing: cls.predictions" in refused(bert(tmp_path))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    writer = qwen3()
    rows = len(writer.tokenizer)
    writer.tokenizer.add_tokens([f"word{number}" for number in range(3000)])
    writer.save(tmp_path)
    assert f"gives {rows + 3000} ids and its weights have {rows} rows" in refused(tmp_path)


@pytest.mark.parametrize("make", [qwen3, llama])
def test_a_folder_without_a_tokenizer_is_refused(tmp_path, make):
    make().save(tmp_path)
    for file in [*tmp_path.glob("tokenizer*"), *tmp_path.glob("*.jinja")]:
        file.unlink()
    assert "its tokenizer" in refused(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("tokenizer.json", "{}", "its tokenizer cannot be used"),
        ("tokenizer.json", '{"added_tokens": [], "model": {"type": "BPE"}}', "its tokenizer cannot be used"),
        ("config.json", "[]", "its configuration cannot be used"),
        ("config.json", '{"model_type": "llama", "hidden_size": "wide"}', "hidden_size"),
        ("generation_config.json", '{"eos_token_id": ["x"]}', "generation_config"),
        ("chat_template.jinja", "{{ raise_exception('system turns only') }}", "(TemplateError: system turns only)"),
        ("chat_template.jinja", "{% for m in messages %}", "its chat template cannot be used (TemplateSyntaxError"),
        ("chat_template.jinja", "{{ messages[0].content + 1 }}", "its chat template cannot be used (TypeError"),
        ("chat_template.jinja", "{{ messages[1].content }}", "its chat template cannot be used"),
        ("chat_template.jinja", "", "its chat template leaves the prompt out"),
        ("chat_template.jinja", CHAT.replace("m.content", "m.text"), "its chat template leaves the prompt out"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, file, text, words):
    llama().save(tmp_path)
    (tmp_path / file).write_text(text)
    assert words in refused(tmp_path)


def test_chat_templates_without_a_default_are_refused(tmp_path):
    writer = llama()
    writer.tokenizer.chat_template = {"tool_use": CHAT, "rag": CHAT}
    writer.save(tmp_path)
    assert "its chat template cannot be used" in refused(tmp_path)


def test_the_context_limits_the_prompt():
    writer = llama()
    assert writer.prompt_budget(40, 32) == 40
    assert writer.prompt_budget(500, 32) == 64
    with pytest.raises(InputError, match="shorter than a completion"):
        writer.prompt_budget(10, 96)
