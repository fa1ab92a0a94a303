"""Generation: what is drawn depends on seed, row, sample and position alone, and agrees with the model's own logits."""

import numpy as np
import pytest
import torch
from scipy import stats
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    GenerationConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)  # fmt: skip

from infra.bench.generate import plain_config
from rporec.backbone.generate import Sampling, generate, generate_ids
from rporec.backbone.randomness import uniforms
from rporec.backbone.shared import can_share
from rporec.backbone.source import Writer
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


def test_hundreds_of_completions_agree_over_batch_sizes_and_runs(writer):
    prompts = [[300 + (3 * row + place * place) % 19 for place in range(1 + row % 23)] for row in range(32)]

    def written(size):
        settings = sampling(num_samples=8, batch_size=size)
        return generate_ids(writer.model, prompts, range(32), writer.eos_id, settings)

    whole = written(256)
    assert whole == written(256)  # log-probabilities too, to the last bit
    for size in (40, 136):
        same = [
            a.ids == b.ids for one, two in zip(whole, written(size), strict=True) for a, b in zip(one, two, strict=True)
        ]
        assert np.mean(same) >= 0.995


def test_sharing_a_prompt_is_repeating_it(writer, monkeypatch):
    way = writer.model.config._attn_implementation
    settings = sampling(num_samples=8, max_new_tokens=20)
    assert can_share(writer.model)
    shared = generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, settings)
    assert writer.model.config._attn_implementation == way
    monkeypatch.setattr("rporec.backbone.generate.can_share", lambda model: False)
    repeated = generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, settings)
    assert ids_of(shared) == ids_of(repeated)
    for a, b in zip(shared, repeated, strict=True):
        np.testing.assert_allclose(a[0].logprobs, b[0].logprobs, atol=2e-4)


def test_sliding_windows_and_unknown_architectures_are_not_shared():
    tiny = {
        "vocab_size": 8, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
    }  # fmt: skip
    assert can_share(MistralForCausalLM(MistralConfig(**tiny, num_key_value_heads=1, sliding_window=None)))
    assert not can_share(MistralForCausalLM(MistralConfig(**tiny, num_key_value_heads=1, sliding_window=4)))
    assert not can_share(GPTNeoXForCausalLM(GPTNeoXConfig(**tiny)))


def two_tokens(model, prompt, eos_id):
    """The exact chances of all completions of at most two tokens, [V * V]; one that ends at once fills one place."""
    size = model.config.vocab_size
    ids = torch.tensor([[*prompt, token] for token in range(size)])
    with torch.no_grad():
        chances = torch.softmax(model(ids).logits[:, -2:].double(), dim=-1)  # [V, 2, V]
    table = chances[0, 0][:, None] * chances[:, 1]  # [V, V]
    table[eos_id] = 0.0
    table[eos_id, eos_id] = chances[0, 0, eos_id]
    return table.flatten().numpy()


def six_words():
    """A tokenizer of six words, the first of which ends a text and fills it up."""
    words = Tokenizer(WordLevel({word: place for place, word in enumerate("eabcdf")}, unk_token="a"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="e", pad_token="e")


def test_it_samples_the_distribution_of_transformers():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=6, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=False, initializer_range=0.5, eos_token_id=0,
        pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    prompts, draws = [[1, 2], [3, 4, 5, 1, 2]], 20_000  # of two lengths, so that padding is at work
    settings = sampling(num_samples=draws, max_new_tokens=2, batch_size=50_000)
    ours = generate_ids(model, prompts, [1, 2], 0, settings)
    plain = plain_config(Writer(model, six_words()), settings)  # what the bench compares with
    for prompt, samples in zip(prompts, ours, strict=True):
        drawn = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), generation_config=plain
        )
        theirs = np.bincount((drawn[:, len(prompt) :] @ torch.tensor([6, 1])).numpy(), minlength=36)
        places = [6 * one.ids[0] + (one.ids[1] if len(one.ids) > 1 else 0) for one in samples]
        counts = np.bincount(places, minlength=36)
        exact = two_tokens(model, prompt, eos_id=0)
        likely = exact * draws >= 5
        for found in (counts, theirs):
            assert np.abs(found / draws - exact).sum() / 2 < 0.02  # total variation
            assert found[exact == 0].sum() == 0
            shares = exact[likely] / exact[likely].sum()
            assert stats.chisquare(found[likely], shares * found[likely].sum()).pvalue > 0.001
        assert stats.chi2_contingency([counts[likely] + 0.0, theirs[likely]]).pvalue > 0.001


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


def test_log_probabilities_and_entropies_are_those_of_one_pass_over_the_text(writer):
    results = generate_ids(writer.model, PROMPTS, KEYS, writer.eos_id, sampling(temperature=0.7, entropies=True))
    for prompt, samples in zip(PROMPTS, results, strict=True):
        for one in samples:
            with torch.no_grad():
                logits = writer.model(torch.tensor([[*prompt, *one.ids]])).logits[0, len(prompt) - 1 : -1]
            expected = torch.log_softmax(logits / 0.7, dim=-1).gather(1, torch.tensor(one.ids)[:, None])[:, 0]
            np.testing.assert_allclose(one.logprobs, expected.numpy(), atol=2e-4)
            entropies = torch.distributions.Categorical(logits=logits / 0.7).entropy()
            np.testing.assert_allclose(one.entropies, entropies.numpy(), atol=2e-4)


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


def test_a_row_ends_at_whichever_end_token_comes_first():
    writer = qwen3()
    settings = sampling(max_new_tokens=20)
    open_end = generate_ids(writer.model, PROMPTS, KEYS, -1, settings)
    drawn = np.bincount(np.concatenate([one.ids for samples in open_end for one in samples]))
    two = drawn.argsort()[-2:].tolist()
    ended = generate_ids(writer.model, PROMPTS, KEYS, two, settings)
    last = set()
    for before, after in zip(open_end, ended, strict=True):
        for long, short in zip(before, after, strict=True):
            cut = min((long.ids.index(end) + 1 for end in two if end in long.ids), default=20)
            assert (short.ids, short.finished) == (long.ids[:cut], any(end in long.ids for end in two))
            last.add(short.ids[-1])
    assert last >= set(two)
    assert generate_ids(writer.model, PROMPTS, KEYS, [two[0]], settings) == generate_ids(
        writer.model, PROMPTS, KEYS, two[0], settings
    )


def test_a_model_that_names_the_end_of_its_turn_stops_there(writer):
    settings = sampling(num_samples=2, max_new_tokens=20)
    prompts = ["Acme steel hammer", "wire", "willow basket"]
    before = generate(writer, prompts, [1, 2, 3], settings)
    turn = before[0][0].token_ids[3]
    writer.model.generation_config.eos_token_id = [writer.eos_id, turn]
    for long, short in zip(before, generate(writer, prompts, [1, 2, 3], settings), strict=True):
        for old, new in zip(long, short, strict=True):
            cut = old.token_ids.index(turn) + 1 if turn in old.token_ids else len(old.token_ids)
            assert new.token_ids == old.token_ids[:cut]
            if turn in old.token_ids:
                assert new.finished
                assert new.text == writer.tokenizer.decode(new.token_ids[:-1])


def test_an_end_token_at_the_last_position_counts_as_finished():
    writer = qwen3()
    one = generate_ids(writer.model, PROMPTS[:1], KEYS[:1], -1, sampling(num_samples=1, max_new_tokens=3))[0][0]
    again = generate_ids(writer.model, PROMPTS[:1], KEYS[:1], one.ids[-1], sampling(num_samples=1, max_new_tokens=3))[
        0
    ][0]
    assert again.finished


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
    assert caught.value.field == "backbone.max_completion_tokens"


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
