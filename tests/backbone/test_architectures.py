"""Architectures that differ in what they state or how they attend: contexts unknown or nested, sliding windows."""

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlavaConfig,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)  # fmt: skip

from rporec.backbone.finetune import Example, Tuning, fine_tune
from rporec.backbone.generate import Sampling, generate, generate_ids
from rporec.backbone.shared import can_share
from rporec.backbone.source import Writer, context_length, load_writer
from rporec.errors import InputError
from tests.backbone.models import bloom, lively, tokenizer

torch.set_num_threads(1)
WINDOW = 5
PROMPTS = [[300 + (7 * row + 3 * place) % 19 for place in range(2 + 5 * (row % 4))] for row in range(9)]
KEYS = [100 + row for row in range(9)]


def sampling(**changes):
    values = {"num_samples": 3, "temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "seed": 5, **changes}
    return Sampling(**values)


def boundless():
    words = tokenizer()
    words.model_max_length = int(1e30)  # what transformers sets where a tokenizer says nothing
    return words


def mpt():
    words = boundless()
    torch.manual_seed(3)
    config = MptConfig(
        vocab_size=len(words), d_model=32, n_layers=2, n_heads=2, max_seq_len=64, eos_token_id=words.eos_token_id
    )
    return Writer(model=lively(MptForCausalLM(config)), tokenizer=words)


def test_without_a_stated_context_the_tokenizer_s_limit_counts():
    assert context_length(bloom().model.config) is None
    assert bloom().context == 128
    assert bloom().prompt_budget(500, 28) == 100


def test_without_any_limit_nothing_is_cut():
    writer = bloom(boundless())
    assert writer.context is None
    assert writer.prompt_budget(5000, 28) == 5000
    settings = sampling(num_samples=1, temperature=0.0, max_new_tokens=3)
    (written,) = generate(writer, ["hammer " * 150], [1], settings)
    assert 1 <= len(written[0].token_ids) <= 3


def test_a_prompt_beyond_the_tokenizer_s_limit_is_refused():
    with pytest.raises(InputError, match="do not fit the context") as caught:
        generate(bloom(), ["hammer " * 150], [1], sampling())
    assert "128 tokens" in caught.value.message()


def test_other_names_and_places_of_the_context_are_known():
    assert mpt().context == 64
    with pytest.raises(InputError, match="do not fit the context"):
        generate_ids(mpt().model, [[300] * 60], [1], 0, sampling())
    nested = LlavaConfig(text_config=LlamaConfig(max_position_embeddings=77).to_dict())
    assert context_length(nested) == 77


@pytest.mark.parametrize("make", [bloom, mpt])
def test_models_that_take_no_positions_write_as_if_each_prompt_were_alone(make, tmp_path):
    make().save(tmp_path)
    writer = load_writer(tmp_path)
    for settings in (sampling(), sampling(temperature=0.0, num_samples=1)):
        together = generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, settings)
        for row, prompt in enumerate(PROMPTS):
            (alone,) = generate_ids(writer.model, [prompt], KEYS[row : row + 1], writer.eos_id, settings)
            assert [one.ids for one in alone] == [one.ids for one in together[row]]
    for prompt, (written,) in zip(PROMPTS, together, strict=True):
        assert written.ids == greedy(writer, prompt, 12)


def test_a_bloom_is_tuned(tmp_path):
    writer = bloom()
    examples = [Example(prompt, [310, 311, writer.eos_id], row) for row, prompt in enumerate(PROMPTS)]
    tuning = Tuning(epochs=8, batch_tokens=64, learning_rate=0.01, autocast=False, seed=1, checkpoint_every=100)
    losses = fine_tune(writer.model, examples, tuning, tmp_path / "kept.safetensors").losses
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", ["mistral", "qwen2"])
def test_sliding_windows_write_the_same_with_and_without_sharing(kind, monkeypatch):
    writer = sliding(kind)
    settings = sampling(num_samples=4)
    written = generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, settings)
    with monkeypatch.context() as patch:
        patch.setattr("rporec.backbone.generate.can_share", lambda model: False)
        assert generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, settings) == written
    for row, prompt in enumerate(PROMPTS):
        (alone,) = generate_ids(writer.model, [prompt], KEYS[row : row + 1], writer.eos_id, settings)
        assert [one.ids for one in alone] == [one.ids for one in written[row]]
    best = generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, sampling(num_samples=1, temperature=0.0))
    assert [one.ids for (one,) in best] == [greedy(writer, prompt, 12) for prompt in PROMPTS]


def test_the_window_of_these_models_matters():
    """Else the test above would hold whatever is done with windows."""
    narrow, wide = sliding("mistral"), sliding("mistral", window=None)
    wide.model.load_state_dict(narrow.model.state_dict())
    assert can_share(wide.model)
    assert not can_share(narrow.model)
    prompt = max(PROMPTS, key=len)
    assert len(prompt) > WINDOW
    assert greedy(narrow, prompt, 12) != greedy(wide, prompt, 12)


def sliding(kind, window=WINDOW):
    words = tokenizer()
    shape = {
        "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96, "sliding_window": window,
        "eos_token_id": words.eos_token_id, "bos_token_id": None, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(4)
    if kind == "mistral":
        return Writer(lively(MistralForCausalLM(MistralConfig(**shape))), words)
    config = Qwen2Config(**shape, use_sliding_window=True, max_window_layers=1)  # the second layer slides
    return Writer(lively(Qwen2ForCausalLM(config)), words)


@torch.no_grad()
def greedy(writer, prompt, tokens):
    """Return the greedy completion by whole passes over the text: no cache, no padding."""
    ids = list(prompt)
    while len(ids) < len(prompt) + tokens and (ids == list(prompt) or ids[-1] != writer.eos_id):
        ids.append(int(writer.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]
