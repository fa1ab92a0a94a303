"""Groups that teach nothing: found, drawn again by seed, step and try, or left out as if the batch never had them."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer

from rporec.align import groups
from rporec.align.groups import Draw
from rporec.align.rewards import NOTHING
from rporec.align.scorer import Scored
from rporec.align.settings import grpo_config
from rporec.align.trainer import Policy
from rporec.files import sha256_path
from tests.align import runs, world
from tests.align.test_passes import COMPLETIONS, PROMPTS, G, max_relative_difference
from tests.backbone.models import qwen3

FLAT = (0, 3, 6)
KEPT = [place for place in range(len(PROMPTS)) if place not in FLAT]
_rng = np.random.default_rng(1)
REWARDS = [[0.25] * G if place in FLAT else [float(x) for x in _rng.random(G)] for place in range(len(PROMPTS))]
BATCH = {"num_generations": G, "beta": 0.1, "temperature": 0.7, "top_entropy_quantile": 1.0}


class Planted:
    """Given prompts, completions and rewards, by the number of the prompt."""

    def _tokenize_prompts(self, prompts):
        self.rows = [int(one) * G + row % G for row, one in enumerate(prompts)]
        return [PROMPTS[int(one)] for one in prompts], None, {}

    def _generate_single_turn(self, *_):
        return [COMPLETIONS[row] for row in self.rows], None


class Stock(Planted, GRPOTrainer):
    pass


class Ours(Planted, Policy):
    pass


class Table:
    def score(self, owners, *_):
        return [Scored(REWARDS[owner][row % G], NOTHING) for row, owner in enumerate(owners)]


def rows_of(places):
    return [{"prompt": str(place), "group": place} for place in places for _ in range(G)]


def gradient(trainer, rows):
    """Return loss and gradients of one step, away from the reference."""
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight += 0.02 * weight.std(correction=0) * torch.randn_like(weight)
    losses = [trainer.training_step(trainer.model, rows, None) for _ in range(trainer.args.gradient_accumulation_steps)]
    return sum(losses), {name: weight.grad for name, weight in trainer.model.named_parameters()}


def ours(untaught, work, rewards=None, **changes):
    params = world.align_params(prompts_per_step=len(PROMPTS), **{**BATCH, **changes})
    prompts = [(place, str(place)) for place in range(len(PROMPTS))]
    policy = Ours(params, world.setup(untaught, work), prompts, qwen3().tokenizer, rewards or Table())
    return gradient(policy, rows_of(range(len(PROMPTS))))


def stock_without(untaught, work, **changes):
    params = world.align_params(prompts_per_step=len(KEPT), **{**BATCH, **changes, "micro_batch": len(KEPT) * G})
    rows = rows_of(KEPT)
    trainer = Stock(
        str(untaught), reward_funcs=lambda group, **_: [REWARDS[one][row % G] for row, one in enumerate(group)],
        args=grpo_config(params, world.setup(untaught, work)), train_dataset=Dataset.from_list(rows[::G]),
        processing_class=qwen3().tokenizer,
    )  # fmt: skip
    return gradient(trainer, rows)


@pytest.mark.parametrize(
    ("changes", "micro"),
    [
        ({"loss_type": "grpo", "top_entropy_quantile": 0.3}, 32),
        ({"loss_type": "bnpo", "scale_rewards": "batch"}, 32),
        ({"loss_type": "dapo"}, 32),
        ({"loss_type": "grpo", "scale_rewards": "batch"}, 8),
        ({"loss_type": "grpo"}, 2),  # smaller than a group
        ({"loss_type": "dr_grpo"}, 4),  # more micro-batches than groups are left
        ({"loss_type": "dapo"}, 4),
    ],
)
def test_a_batch_with_groups_left_out_has_the_gradient_of_the_batch_without_them(untaught, tmp_path, changes, micro):
    loss, gradients = ours(untaught, tmp_path, zero_variance="skip", micro_batch=micro, **changes)
    wanted, reference = stock_without(untaught, tmp_path, **changes)
    assert max_relative_difference(loss, wanted) < 1e-4
    for name, one in reference.items():
        assert one.abs().max() > 0, name
        assert max_relative_difference(gradients[name], one) < 1e-4, name


def test_a_batch_that_keeps_its_groups_has_another_gradient(untaught, tmp_path):
    kept, _ = ours(untaught, tmp_path, zero_variance="keep", micro_batch=32)
    left, _ = ours(untaught, tmp_path, zero_variance="skip", micro_batch=32)
    assert abs(float(kept - left)) > 0.01 * abs(float(left))


def test_where_no_group_is_left_nothing_moves(untaught, tmp_path):
    class Same:
        def score(self, owners, *_):
            return [Scored(0.5, NOTHING) for _ in owners]

    for loss_type in ("grpo", "dapo"):
        loss, gradients = ours(untaught, tmp_path, Same(), zero_variance="skip", micro_batch=8, loss_type=loss_type)
        assert float(loss) == 0.0
        assert all(float(one.abs().max()) == 0.0 for one in gradients.values())


def test_flat_groups():
    assert groups.flat([0.1, 0.1, 0.1, 0.2, 0.3, 0.3 + 1e-9], 2).tolist() == [True, False, True]


def test_only_flat_groups_are_drawn_again_and_not_for_ever():
    asked = []

    def sample(places, attempt):
        asked.append((list(places), attempt))
        return [[Draw([place, attempt, row], []) for row in range(2)] for place in places]

    def score(owners, draws):  # group 0 differs at once, group 1 at the second try, group 2 never
        first_good = {0: 0, 1: 2, 2: 99}
        values = [
            one.ids[2] if one.ids[1] >= first_good[owner] else 0 for owner, one in zip(owners, draws, strict=True)
        ]
        return [Scored(float(value), NOTHING) for value in values]

    draws, scored, flat = groups.sample_again(3, 3, sample, score)
    assert asked == [([0, 1, 2], 0), ([1, 2], 1), ([1, 2], 2), ([2], 3)]
    assert [own[0].ids[:2] for own in draws] == [[0, 0], [1, 2], [2, 3]]
    assert [[one.reward for one in own] for own in scored] == [[0, 1], [0, 1], [0, 0]]
    assert flat == [False, True, True]


def test_drawing_again_finds_variance_and_ends_with_the_same_bytes_after_a_stop(tmp_path):
    torch.set_num_threads(1)
    world.write_backbone(tmp_path / "backbone")
    only_rank = dict.fromkeys(("format", "outside", "concise", "similar", "entropy"), 0.0) | {"rank": 1.0}
    weights = world.align_params().weights.model_dump() | only_rank
    changes = {"weights": weights, "num_generations": 2, "micro_batch": 8, "steps": 4, "rank_reward": "ndcg"}
    kept = runs.run(tmp_path / "backbone", tmp_path / "kept", runs.small(**changes))
    again = runs.small(**changes, zero_variance="resample", resample_tries=5)
    drawn = runs.run(tmp_path / "backbone", tmp_path / "drawn", again)
    before, after = (float(np.mean([row["zero_variance"] for row in one.rows[1:]])) for one in (kept, drawn))
    assert before > 0.2
    assert after < before / 2
    first = float(np.mean([row["zero_variance_first"] for row in drawn.rows[1:]]))
    assert first > before / 2 > after, "what was drawn first is told too"
    assert [row["zero_variance_first"] for row in kept.rows] == [row["zero_variance"] for row in kept.rows]
    runs.run_until(3, tmp_path / "backbone", tmp_path / "stopped", again)
    resumed = runs.run(tmp_path / "backbone", tmp_path / "stopped", again)
    assert resumed.rows == drawn.rows
    assert sha256_path(resumed.folder) == sha256_path(drawn.folder)
