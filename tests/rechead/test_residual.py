"""The reasoning modules: silent without reasoning, every weight learns, gates can close, a killed fit goes on."""

import numpy as np
import pytest
import torch

from rporec.reasoning.parse import Parsed
from rporec.rechead import reasoning as fitting
from rporec.rechead.head import FusedHead, HeadWeights, HistoryHead
from rporec.rechead.model import ARCHITECTURES
from rporec.rechead.reader import Reader
from rporec.rechead.reasoning import Frozen, ReasoningFit, drop_text, fit_reasoning
from rporec.rechead.tower import HistoryTower
from rporec.transitions import Transitions
from tests.rechead import world

torch.set_num_threads(1)
GOOD, BAD = Parsed("seen bolt", "bolt rope", True, 0), Parsed("", "", False, 4)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return world.reader()


@pytest.fixture(scope="module")
def told():
    return world.make_rows(0.6).reason


@pytest.fixture(scope="module")
def base(reader, told) -> Frozen:
    tower = HistoryTower(world.shape(), reader.items, seed=1)
    counts = Transitions.fit_groups(told.examples.histories, (told.examples.owner, told.examples.targets), world.N, 0.5)
    return Frozen(FusedHead(HistoryHead(tower, counts), HeadWeights(0.1, 0.5, 4.0)), reader)


@pytest.fixture(params=list(ARCHITECTURES))
def module(request, reader):
    return ARCHITECTURES[request.param](reader.items, seed=1)


def test_without_reasoning_the_residual_is_exactly_zero(module, reader):
    logits = torch.randn(3, world.N, generator=torch.Generator().manual_seed(1))
    residual = module(logits, reader.read([[], [GOOD], [BAD]]))
    assert (residual[[0, 2]] == 0).all()
    assert residual[1].abs().max() > 0


def test_evidence_by_hand(reader):
    evidence = reader.read([[GOOD, BAD, GOOD], [], [Parsed("x", "lamp", True, 0)]])
    assert evidence.owner.tolist() == [0, 0, 2]
    assert evidence.counts().tolist() == [[2], [0], [1]]
    assert evidence.match.min() >= 0
    assert evidence.match.max() <= 1 + 1e-6
    best = [int(line.argmax()) for line in evidence.match]
    assert best[0] == world.BRANDS.index("bolt") * len(world.THINGS) + world.THINGS.index("rope")
    assert best[2] % len(world.THINGS) == world.THINGS.index("lamp")
    assert evidence.mean(torch.tensor([[1.0], [3.0], [5.0]])).tolist() == [[2], [0], [5]]


def test_texts_are_encoded_once(reader, monkeypatch):
    fresh = Reader.fit(reader.encoder, *([["acme lamp"] * world.N] * 2))
    said, plain = [], reader.encoder.encode
    monkeypatch.setattr(fresh.encoder, "encode", lambda texts: said.extend(texts) or plain(texts))
    for _ in range(3):
        fresh.read([[GOOD, GOOD]] * 2)
    assert sorted(said) == sorted([GOOD.thought, GOOD.answer])


def test_every_weight_learns_and_the_head_stays(module, base, told, tmp_path):
    before = {name: value.clone() for name, value in module.named_parameters()}
    head = {name: value.clone() for name, value in base.head.tower.state_dict().items()}
    losses = fit_reasoning(module, base, told, ReasoningFit(6, 0.2, 1), tmp_path)
    for name, value in module.named_parameters():
        assert not torch.equal(value, before[name]), name
    assert all(torch.equal(value, head[name]) for name, value in base.head.tower.state_dict().items())
    assert losses[-1] < losses[0]


def test_a_killed_fit_goes_on(module, base, told, tmp_path, monkeypatch):
    again = ARCHITECTURES["hybrid" if hasattr(module, "floor") else "paper"](base.reader.items, seed=1)
    fit = ReasoningFit(3, 0.2, 1)
    whole = fit_reasoning(module, base, told, fit, tmp_path / "whole")
    fit_reasoning(again, base, told, ReasoningFit(1, 0.2, 1), tmp_path / "cut")
    resumed = ARCHITECTURES["hybrid" if hasattr(module, "floor") else "paper"](base.reader.items, seed=1)
    assert fit_reasoning(resumed, base, told, fit, tmp_path / "cut") == whole
    for name, value in module.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_slice_without_reasoning_teaches_nothing(module, base, told, tmp_path, caplog):
    silent = fitting.Told(told.examples, [[BAD]] * len(told.examples))
    assert fit_reasoning(module, base, silent, ReasoningFit(2, 0.2, 1), tmp_path) == []
    assert "no well-formed reasoning" in caplog.text
    weights = fitting.fit_final_weights(base, module, silent)
    assert weights.strength == 0
    assert weights.told == weights.alone


def test_gates_can_close(reader):
    module = ARCHITECTURES["hybrid"](reader.items, seed=1)
    logits = torch.zeros(1, world.N)
    with torch.no_grad():
        module.gate_bias.fill_(-40.0)
    assert module(logits, reader.read([[GOOD]])).abs().max() < 1e-6


def test_dropped_texts_are_gone(reader):
    evidence = reader.read([[GOOD, GOOD]] * 200)
    dropped = drop_text(evidence, 0.5, np.random.default_rng(1))
    silent = (dropped.answer == 0).all(dim=1)
    assert torch.equal(silent[::2], silent[1::2])  # all samples of a group together
    assert 0.3 < silent.float().mean() < 0.7
    assert ((dropped.match == 0).all(dim=1) == silent).all()
    assert not torch.equal(silent, (dropped.thought == 0).all(dim=1))
    kept = drop_text(evidence, 0.0, np.random.default_rng(1))
    assert torch.equal(kept.match, evidence.match)
