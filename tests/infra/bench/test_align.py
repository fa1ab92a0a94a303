"""The bench of reinforcement learning, at toy size: both trainers do the same, and the figures are those of the run."""

from __future__ import annotations

import pytest

from infra.bench.align import G, L, P
from infra.bench.align_work import operations
from infra.bench.align_world import Sizes
from tests import project
from tests.backbone.models import qwen3

TOY = (
    "ingest.market.users=600 ingest.market.items=60 ingest.market.days=60 backbone.width=32 backbone.layers=1 "
    "backbone.heads=2 backbone.vocab_size=400 rechead.width=16 rechead.text_dim=16 align.micro_batch=16"
)
PARTS = ("generate", "score", "reference", "update")


def test_it_prints_the_equality_the_parts_of_both_the_floor_and_the_ratio():
    told = project.bench("align", "--prompts", "4", "--rounds", "1", settings=TOY)
    equality, ours, stock, ratio = told
    assert max(equality["loss_difference"], equality["gradient_difference"]) < 1e-4
    assert equality["gradients"] == 13
    assert (ours["bench"], stock["bench"]) == ("align, rporec", "align, stock")
    for line in (ours, stock):
        assert (line["prompts"], line["samples"], line["prompt_tokens"], line["completion_tokens"]) == (4, G, P, L)
        assert sum(line[f"{part}_s"] for part in PARTS) == pytest.approx(line["step_s"], abs=0.01)
        assert all(line[f"{part}_s"] > 0 for part in PARTS)
    assert ratio["ratio"] == pytest.approx(stock["step_s"] / ours["step_s"], rel=0.05)
    assert ratio["over_floor"] == pytest.approx(ours["step_s"] / ratio["floor_s"], rel=0.1)


def test_operations_by_hand():
    writer = qwen3()
    config = writer.model.config
    width, layers, prompts = config.hidden_size, config.num_hidden_layers, 2
    inside = layers * (4 * width**2 + 3 * width * 3 * width)
    alike = 4 * layers * width * prompts * G * (L - 1) * (P + L / 2)  # attention of completions
    for shared, copies in ((True, prompts), (False, prompts * G)):
        found = operations(writer, Sizes(prompts, G, P, L), shared=shared)
        tokens = copies * P + prompts * G * (L - 1)
        body = 2 * tokens * inside + alike + 4 * layers * width * copies * P * P / 2
        places = prompts * G * (L if shared else P + L - 1)
        score = 2 * width * config.vocab_size
        assert found["reference"] == pytest.approx(body + score * places)
        assert found["generate"] == pytest.approx(body + score * prompts * G * L)
        assert found["update"] == pytest.approx(3 * body + (3 if shared else 4) * score * places)
