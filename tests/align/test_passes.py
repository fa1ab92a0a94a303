"""Training with shared prompts is TRL's own training: same loss, same gradients, on ragged prompts and completions."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer

from rporec.align import passes
from rporec.align.rewards import NOTHING
from rporec.align.scorer import Scored
from rporec.align.settings import Setup, grpo_config
from rporec.align.trainer import Policy, row_order
from tests.align import world
from tests.backbone.models import bloom, llama, qwen3

G, L, SEED = 4, 12, 3
LENGTHS = (1, 17, 5, 30, 9, 9, 2, 23)  # of the prompts, tokens
PARAMS = world.align_params(prompts_per_step=8, num_generations=G, micro_batch=8, beta=0.1, temperature=0.7)
CASES = list(itertools.product(("grpo", "bnpo", "dr_grpo", "dapo"), (0.0, 0.1), (1.0, 0.2)))
_rng = np.random.default_rng(0)
PROMPTS = [[int(i) for i in _rng.integers(3, 300, size=length)] for length in LENGTHS]
COMPLETIONS = [[int(i) for i in _rng.integers(3, 300, size=_rng.integers(1, L + 1))] for _ in range(len(LENGTHS) * G)]
REWARDS = [float(x) for x in _rng.random(len(COMPLETIONS))]
ROWS = [{"prompt": str(place), "group": place} for place in range(len(PROMPTS)) for _ in range(G)]


class Planted:
    """Given prompts and completions instead of tokenised and sampled ones."""

    def _tokenize_prompts(self, prompts):
        return [PROMPTS[int(place)] for place in prompts], None, {}

    def _generate_single_turn(self, *_):
        return COMPLETIONS, None


class Stock(Planted, GRPOTrainer):
    pass


class Ours(Planted, Policy):
    pass


class Scores:
    def score(self, groups, *_):
        return [Scored(reward, NOTHING) for reward, _ in zip(REWARDS, groups, strict=True)]


@dataclass
class Pair:
    stock: Stock
    ours: Ours

    def both(self):
        return self.stock, self.ours


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def pair(request, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    return trainers({"qwen3": qwen3, "llama": llama}[request.param](), folder)


def trainers(writer, folder):
    writer.save(folder / "backbone")
    setup = Setup(folder / "backbone", folder, seed=SEED, max_completion_tokens=L, device="cpu")
    stock = Stock(
        str(setup.backbone), reward_funcs=lambda **_: REWARDS, args=grpo_config(PARAMS, setup),
        train_dataset=Dataset.from_list(ROWS[::G]), processing_class=writer.tokenizer,
    )  # fmt: skip
    ours = Ours(PARAMS, setup, [(row["group"], row["prompt"]) for row in ROWS[::G]], writer.tokenizer, Scores())
    for trainer in (stock, ours):
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        torch.manual_seed(7)
        with torch.no_grad():  # away from the reference, else KL and its gradient are 0
            for weight in trainer.model.parameters():
                weight += 0.02 * weight.std(correction=0) * torch.randn_like(weight)
    return Pair(stock, ours)


def one_step(trainer, loss_type, beta, quantile):
    """Return the loss of each micro-batch and the gradient of each weight after all of them."""
    trainer.loss_type, trainer.beta, trainer.top_entropy_quantile = loss_type, beta, quantile
    trainer._step, trainer._buffered_inputs = 0, None
    trainer.model.zero_grad()
    losses = [trainer.training_step(trainer.model, ROWS, None) for _ in range(trainer.args.gradient_accumulation_steps)]
    tuned = {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    return torch.stack(losses), {name: weight.grad.clone() for name, weight in tuned.items()}


def in_our_order(batch):
    order = row_order(len(PROMPTS), G, SEED, step=0)
    return {name: value[order] if value.ndim else value for name, value in batch.items()}


def max_relative_difference(ours, stock):
    return float((ours - stock).abs().max() / stock.abs().max())


@pytest.mark.parametrize(("loss_type", "beta", "quantile"), CASES)
def test_loss_and_every_gradient_are_those_of_trl(pair, monkeypatch, loss_type, beta, quantile):
    # TRL puts the rows into micro-batches by chance: it gets the same ones, else no two runs could be compared
    monkeypatch.setattr("trl.trainer.grpo_trainer.shuffle_sequence_dict", in_our_order)
    stock, ours = (one_step(trainer, loss_type, beta, quantile) for trainer in pair.both())
    assert len(stock[0]) == 4
    assert max_relative_difference(ours[0], stock[0]) < 1e-4
    assert stock[1].keys() == ours[1].keys()
    for name, gradient in stock[1].items():
        assert gradient.abs().max() > 0, name
        assert max_relative_difference(ours[1][name], gradient) < 1e-4, name
    for name in ("kl", "entropy") if beta else ("entropy",):
        told = [trainer._metrics["train"][name][-4:] for trainer in pair.both()]
        assert told[1] == pytest.approx(told[0], rel=1e-4)


def test_every_prompt_runs_once_in_a_pass(pair, monkeypatch):
    seen = []
    lay_out = passes.lay_out

    def noting(rows):
        made = lay_out(rows)
        seen.append((len(rows.prompts), made[2].prompts.rows, made[0].shape[1]))
        return made

    monkeypatch.setattr(passes, "lay_out", noting)
    one_step(pair.ours, "grpo", 0.1, 1.0)
    assert [(rows, prompts) for rows, prompts, _ in seen] == [(8, 2)] * 8, "4 of the reference, 4 of the policy"
    tokens = sum(LENGTHS) - len(LENGTHS) + sum(map(len, COMPLETIONS))
    assert sum(tokens for *_, tokens in seen) == 2 * tokens, "nothing is padded, nothing is computed twice"


def test_large_vocabularies_are_scored_in_tiles(pair, monkeypatch):
    known = one_step(pair.ours, "grpo", 0.1, 0.2)
    monkeypatch.setattr(passes, "_LOGITS_AT_ONCE", 0)
    tiled = one_step(pair.ours, "grpo", 0.1, 0.2)
    assert max_relative_difference(tiled[0], known[0]) < 1e-5
    for name, gradient in known[1].items():
        assert max_relative_difference(tiled[1][name], gradient) < 1e-4, name


def test_a_model_whose_attention_cannot_share_takes_the_plain_way(tmp_path, monkeypatch):
    monkeypatch.setattr("trl.trainer.grpo_trainer.shuffle_sequence_dict", in_our_order)
    monkeypatch.setattr(passes, "run", lambda *_: pytest.fail("shared"))
    pair = trainers(bloom(), tmp_path)
    stock, ours = (one_step(trainer, "grpo", 0.1, 0.2) for trainer in pair.both())
    assert torch.equal(stock[0], ours[0])
    assert all(torch.equal(gradient, ours[1][name]) for name, gradient in stock[1].items())


def test_micro_batches_hold_whole_groups_in_an_order_of_the_step(pair):
    found = {}
    for step in (0, 1):
        pair.ours.state.global_step, pair.ours._step, pair.ours._buffered_inputs = step, 0, None
        pair.ours._prepare_inputs(ROWS)
        parts = pair.ours._buffered_inputs
        rows = [row for part in parts for row in part["completion_ids"].tolist()]
        places = [next(i for i, one in enumerate(COMPLETIONS) if row[: len(one)] == one) for row in rows]
        assert sorted(places) == list(range(len(COMPLETIONS)))
        assert places == row_order(len(PROMPTS), G, SEED, step).tolist()
        assert all(places[i : i + G] == list(range(places[i], places[i] + G)) for i in range(0, len(places), G))
        found[step] = places
    pair.ours.state.global_step = 0
    assert found[0] != found[1]


def rows_of(sizes, length=3):
    prompts = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[:, None].expand(-1, length)
    ones = torch.ones_like(prompts)
    return passes.Rows(prompts, ones, ones, ones)


@pytest.mark.parametrize(
    ("sizes", "most", "parts"),
    [
        ((4, 4, 4), 8, [8, 4]),
        ((4, 4, 4), 7, [4, 4, 4]),
        ((4, 4), 100, [8]),
        ((5, 3), 2, [2, 2, 1, 2, 1]),
        ((5, 3), 4, [4, 4]),
    ],
)
def test_cut(sizes, most, parts):
    rows = rows_of(sizes)
    cut = rows.cut(most)
    assert [one.stop - one.start for one in cut] == parts
    assert [one.start for one in cut] == [0, *(one.stop for one in cut[:-1])]
    assert cut[-1].stop == sum(sizes)
    assert len(rows.part(cut[0]).prompts) == parts[0]


def test_prompts_of_other_lengths_are_other_prompts():
    prompts = torch.tensor([[0, 0, 5], [0, 0, 5], [0, 0, 5]])
    mask = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 1, 1]])  # 0 is padding in the first, a token in the others
    ones = torch.ones_like(prompts)
    assert passes.Rows(prompts, mask, ones, ones).owners().tolist() == [0, 1, 1]
