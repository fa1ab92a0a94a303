"""Generation: what is drawn depends on seed, row, sample and position alone, and agrees with the model's own logits."""

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from rporec.backbone.generate import Sampling, generate, generate_ids, pick
from rporec.backbone.randomness import uniforms
from rporec.errors import InputError
from tests.backbone.models import llama, qwen3

PROMPTS = [[300 + (7 * row + 3 * place) % 19 for place in range(2 + 5 * (row % 4))] for row in range(9)]
KEYS = [100 + row for row in range(9)]


def sampling(**changes):
    values = {"num_samples": 3, "temperature": 1.0, "max_new_tokens": 12, "batch_size": 64, "seed": 5, **changes}
    return Sampling(**values)


def ids_of(results):
    return [[one.ids for one in samples] for samples in results]


@pytest.fixture(params=["qwen3", "llama"])
def writer(request):
    return {"qwen3": qwen3, "llama": llama}[request.param]()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batches_do_not_change_results(writer, temperature):
    whole = ids_of(generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, sampling(temperature=temperature)))
    for size in (1, 4, 7):
        some = generate_ids(
            writer.model, PROMPTS, KEYS, writer.eos_id, sampling(temperature=temperature, batch_size=size)
        )
        assert ids_of(some) == whole
    order = [4, 0, 8, 2, 6, 1, 7, 3, 5]
    shuffled = generate_ids(
        writer.model, [PROMPTS[row] for row in order], [KEYS[row] for row in order], writer.eos_id,
        sampling(temperature=temperature, batch_size=8),
    )  # fmt: skip
    assert ids_of(shuffled) == [whole[row] for row in order]


def test_the_first_samples_do_not_depend_on_how_many_are_drawn(writer):
    two = ids_of(generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, sampling(num_samples=2)))
    three = ids_of(generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, sampling()))
    assert [samples[:2] for samples in three] == two


def test_seed_row_and_sample_move_the_draw():
    writer = qwen3()
    same_prompt = [PROMPTS[1], PROMPTS[1]]
    first = ids_of(generate_ids(writer.model, same_prompt, [1, 2], writer.eos_id, sampling()))
    assert first[0] != first[1]
    assert len({tuple(ids) for samples in first for ids in samples}) > 4
    assert first != ids_of(generate_ids(writer.model, same_prompt, [1, 2], writer.eos_id, sampling(seed=6)))
    assert first == ids_of(generate_ids(writer.model, same_prompt, [1, 2], writer.eos_id, sampling()))


def test_greedy_is_the_greedy_of_transformers(writer):
    settings = sampling(num_samples=1, temperature=0.0, max_new_tokens=10)
    ours = ids_of(generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, settings))
    config = GenerationConfig(
        do_sample=False, max_new_tokens=10, eos_token_id=writer.eos_id, pad_token_id=writer.eos_id
    )
    for prompt, (ids,) in zip(PROMPTS, ours, strict=True):
        theirs = writer.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), generation_config=config
        )
        assert theirs[0, len(prompt) :].tolist() == ids


def test_log_probabilities_are_those_of_one_pass_over_the_text(writer):
    results = generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, sampling(temperature=0.7))
    for prompt, samples in zip(PROMPTS, results, strict=True):
        for one in samples:
            with torch.no_grad():
                logits = writer.model(torch.tensor([[*prompt, *one.ids]])).logits[0, len(prompt) - 1 : -1]
            expected = torch.log_softmax(logits / 0.7, dim=-1).gather(1, torch.tensor(one.ids)[:, None])[:, 0]
            np.testing.assert_allclose(one.logprobs, expected.numpy(), atol=2e-4)


def test_a_row_ends_at_its_end_token_and_the_others_go_on():
    writer = qwen3()
    open_end = generate_ids(writer.model, PROMPTS, KEYS, -1, sampling(max_new_tokens=20))
    assert not any(one.finished or len(one.ids) != 20 for samples in open_end for one in samples)
    # The most frequent token becomes the end token, so that rows finish one after another.
    common = int(np.bincount(np.concatenate([one.ids for samples in open_end for one in samples])).argmax())
    ended = generate_ids(writer.model, PROMPTS, KEYS, common, sampling(max_new_tokens=20))
    lengths = set()
    for before, after in zip(open_end, ended, strict=True):
        for long, short in zip(before, after, strict=True):
            cut = long.ids.index(common) + 1 if common in long.ids else 20
            assert short.ids == long.ids[:cut]
            assert short.finished == (common in long.ids)
            assert len(short.logprobs) == cut
            lengths.add(cut)
    assert len(lengths) > 3


def test_an_end_token_at_the_last_position_counts_as_finished():
    writer = qwen3()
    one = generate_ids(writer.model, PROMPTS[:1], KEYS[:1], -1, sampling(num_samples=1, max_new_tokens=3))[0][0]
    again = generate_ids(writer.model, PROMPTS[:1], KEYS[:1], one.ids[-1], sampling(num_samples=1, max_new_tokens=3))[
        0
    ][0]
    assert again.finished


def test_sampled_shares_follow_the_distribution():
    logits = torch.log(torch.tensor([0.5, 0.0, 0.3, 0.2])).expand(20_000, 4)
    numbers = torch.from_numpy(uniforms(3, np.arange(20_000)))
    tokens, logprobs = pick(logits, numbers, 1.0)
    shares = torch.bincount(tokens, minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.5, 0.0, 0.3, 0.2], atol=0.012)
    np.testing.assert_allclose(logprobs.exp().unique(), [0.2, 0.3, 0.5], atol=1e-6)


def test_extreme_numbers_never_choose_an_impossible_token():
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]] * 3)
    tokens, _ = pick(logits, torch.tensor([0.0, 1.0 - 2**-24, 1.0]), 1.0)
    assert tokens.tolist() == [1, 2, 2]


def test_temperature_sharpens():
    logits = torch.tensor([[0.0, 1.0]]).expand(5_000, 2)
    numbers = torch.from_numpy(uniforms(1, np.arange(5_000)))
    cold, warm = (pick(logits, numbers, temperature)[0].float().mean() for temperature in (0.25, 4.0))
    assert cold > 0.95 > 0.7 > warm > 0.5


def test_text_is_decoded_without_the_end_token(writer):
    written = generate(writer, ["Acme steel hammer", "wire"], [1, 2], sampling())
    for samples in written:
        for one in samples:
            kept = one.token_ids[:-1] if one.finished else one.token_ids
            assert one.text == writer.tokenizer.decode(kept)


def test_a_prompt_beyond_the_context_is_refused():
    writer = llama()
    with pytest.raises(InputError, match="context") as caught:
        generate_ids(writer.model, [[301] * 90], [1], writer.eos_id, sampling())
    assert "90 + 12 tokens" in caught.value.message()


def test_no_prompts_no_results():
    assert generate(qwen3(), [], [], sampling()) == []


def test_the_training_mode_is_restored(writer):
    writer.model.train()
    generate_ids(writer.model, PROMPTS[:2], KEYS[:2], writer.eos_id, sampling())
    assert writer.model.training


def test_uniforms_are_even_and_in_range():
    numbers = uniforms(9, np.arange(400)[:, None], np.arange(50)[None, :])
    assert numbers.shape == (400, 50)
    assert numbers.dtype == np.float32
    assert 0 <= numbers.min() < 0.001 < 0.999 < numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert abs(counts - 1_000).max() < 150
    assert abs(np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1]) < 0.15
