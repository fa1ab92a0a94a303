"""The whole Rechead on a toy market: planted reasoning helps, shuffled reasoning does not, folders keep the scores."""

import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rporec.encode.first_layout import TfidfEncoder
from rporec.encode.lexicon import Lexicon
from rporec.errors import InputError
from rporec.evaluation.metrics import rank_targets
from rporec.files import read_json, write_json
from rporec.reasoning.parse import Parsed
from rporec.reasoning.prompt import item_line
from rporec.rechead.arms import Arms, make_arms
from rporec.rechead.calibration import Calibration
from rporec.rechead.examples import Examples
from rporec.rechead.head import count
from rporec.rechead.model import Rechead
from rporec.rechead.quality import qualities
from rporec.rechead.reader import Reader
from rporec.rechead.tower import TowerShape
from tests.rechead import world

torch.set_num_threads(1)


@pytest.fixture(scope="module", params=["hybrid", "paper"])
def made(request, tmp_path_factory) -> Arms:
    return make_arms(world.make_rows(0.6), world.reader(), world.recipe(request.param), tmp_path_factory.mktemp("arms"))


HISTORIES = [[3], [1, 2, 3], [39, 0, 0, 0, 5, 5], [], [7, 7]]
SAID = [
    [Parsed("seen acme", "acme acme lamp no 0", True, 0)],
    [],
    [Parsed("seen bolt", "bolt bolt rope no 14", True, 0), Parsed("", "", False, 9)],
    [Parsed("seen", "bucket", True, 0)],
    [Parsed("x", "unheard of words", True, 0)] * 2,
]


def test_planted_reasoning_helps_and_shuffled_reasoning_does_not(made):
    told = world.tell(world.make_rows(0.6).valid.examples, 0.6, seed=9)
    true, false = qualities(made.chosen, told), qualities(made.chosen, world.shuffled(told, seed=1))
    assert made.chosen.weights.strength > 0.1
    assert true["reasoning"]["ndcg@10"] > true["no_reasoning"]["ndcg@10"] + 0.1
    assert false["reasoning"]["ndcg@10"] < false["no_reasoning"]["ndcg@10"] + 0.01


def test_taking_reasoning_away_leaves_the_ranks_of_the_head_without_it(made):
    """Both are the head's own order under a calibration each, which moves no item."""
    held = world.make_rows(0.6).valid.examples
    logits = made.chosen.history_logits(held.histories)
    removed, never = made.chosen.add_reasoning(logits, [[] for _ in held.histories]), made.chosen.no_reasoning(logits)
    ranks, expected = (rank_targets(log_p.numpy(), held.owner, held.targets) for log_p in (removed, never))
    assert not torch.equal(removed, never)
    assert np.array_equal(ranks.above, expected.above)
    assert np.array_equal(ranks.ties, expected.ties)


def test_reasoning_that_owes_nothing_to_the_target_is_shut_out(tmp_path):
    arms = make_arms(world.make_rows(0.0), world.reader(), world.recipe(epochs=8), tmp_path)
    told = world.tell(world.make_rows(0.0).valid.examples, 0.0, seed=9)
    found = qualities(arms.chosen, told)
    assert abs(found["reasoning"]["ndcg@10"] - found["no_reasoning"]["ndcg@10"]) < 0.02


def test_no_reasoning_leaves_exactly_the_head(made):
    logits = made.chosen.history_logits(HISTORIES)
    broken = [[Parsed("", "", False, 3)]] * len(HISTORIES)
    expected = made.chosen.weights.told.log_probabilities(logits)
    assert torch.equal(made.chosen.add_reasoning(logits, [[]] * len(HISTORIES)), expected)
    assert torch.equal(made.chosen.add_reasoning(logits, broken), expected)
    assert torch.equal(made.chosen.score(HISTORIES), expected)


@pytest.mark.parametrize("groups", [1, 3, len(HISTORIES)])
def test_scores_are_those_of_logits_and_reasoning_one_after_the_other(made, groups):
    histories, said = HISTORIES[:groups], SAID[:groups]
    apart = made.final.add_reasoning(made.final.history_logits(histories), said)
    torch.testing.assert_close(made.final.score(histories, said), apart, atol=1e-5, rtol=0)


def test_company_does_not_change_scores(made):
    together = made.final.score(HISTORIES, SAID)
    alone = torch.cat([made.final.score([h], [s]) for h, s in zip(HISTORIES, SAID, strict=True)])
    turned = made.final.score(HISTORIES[::-1], SAID[::-1]).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, turned, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.exp().sum(1), torch.ones(len(HISTORIES)))


def test_samples_of_a_group_are_averaged(made):
    history, one, other = [[1, 2]], SAID[0][0], SAID[2][0]
    once = made.final.score(history, [[one]])
    torch.testing.assert_close(made.final.score(history, [[one, one]]), once, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        made.final.score(history, [[one, other]]), made.final.score(history, [[other, one]]), atol=1e-5, rtol=0
    )
    assert not torch.allclose(made.final.score(history, [[one, other]]), once, atol=1e-3)


def test_a_saved_folder_scores_the_same(made, tmp_path):
    made.final.save(tmp_path / "final")
    again = Rechead.load(tmp_path / "final")
    assert torch.equal(again.score(HISTORIES, SAID), made.final.score(HISTORIES, SAID))
    before, after = (one.no_reasoning(one.history_logits(HISTORIES)) for one in (made.final, again))
    assert torch.equal(after, before)
    names = {path.suffix for path in (tmp_path / "final").rglob("*") if path.is_file()}
    assert names == {".json", ".safetensors"}
    assert again.encoder.encode(["acme lamp"]).shape == (1, 16)


@pytest.mark.parametrize("made", ["paper"], indirect=True)  # that layout had no mixer
def test_a_folder_of_the_first_layout_is_still_read(made, tmp_path):
    made.final.save(tmp_path)
    tower, weights = made.final.head.tower, made.final.weights
    save_file(tower.state_dict(), tmp_path / "tower.safetensors")
    fusion = read_json(tmp_path / "fusion.json")
    (tmp_path / "fusion.json").unlink()
    settings = read_json(tmp_path / "rechead.json")
    settings["shape"] = asdict(tower.shape)
    settings["weights"] = {
        "with_reasoning": fusion, "alone": fusion, "strength": weights.strength, "temperature": 0.8
    }  # fmt: skip
    write_json(tmp_path / "rechead.json", settings)
    warm = replace(weights, told=Calibration(-np.log(0.8), 0.0, 0.0))
    before = Rechead(made.final.head, made.final.reader, made.final.reasoning, warm)
    assert torch.equal(Rechead.load(tmp_path).score(HISTORIES, SAID), before.score(HISTORIES, SAID))


def test_text_parts_of_the_first_layout_are_still_read(made, tmp_path):
    """Then encoder and lexicon shared vocabulary.json and encoder.safetensors, and no digests were kept."""
    texts = [world.catalogue().full_text(item) for item in range(world.N)]
    lines = [item_line(item, world.catalogue()) for item in range(world.N)]
    lexicon = Lexicon.fit([*texts, *lines])
    components = np.random.default_rng(1).standard_normal((len(lexicon.vocabulary), 16)).astype(np.float32)
    reader = Reader.fit(TfidfEncoder(lexicon, components), texts, lines)
    Rechead(made.final.head, reader, made.final.reasoning, made.final.weights).save(tmp_path)
    before = Rechead.load(tmp_path)
    shutil.rmtree(tmp_path / "words")
    stored = load_file(tmp_path / "reader.safetensors")
    del stored["digests"]
    save_file(stored, tmp_path / "reader.safetensors")
    again = Rechead.load(tmp_path)
    assert torch.equal(again.score(HISTORIES, SAID), before.score(HISTORIES, SAID))
    for part in ("thought", "answer", "match"):
        assert torch.equal(getattr(again.reader.read(SAID), part), getattr(reader.read(SAID), part)), part
    assert again.reader.changed(texts) == list(range(world.N))  # not known: never taken for the same


def test_the_reader_knows_the_texts_that_it_read(made):
    texts = [world.catalogue().full_text(item) for item in range(world.N)]
    assert made.final.reader.changed(texts) == []
    assert made.final.reader.changed([*texts[:3], "other", *texts[4:]]) == [3]


def test_arms_share_the_reasoning_module_and_the_frozen_numbers(made):
    assert made.reward.reasoning is made.final.reasoning
    assert made.chosen.weights == made.final.weights
    assert made.reward.weights.strength == 1.0
    rows = world.make_rows(0.6)
    for arm, seen in ((made.reward, rows.fit), (made.chosen, rows.train), (made.final, rows.everything)):
        counted = arm.head.transitions
        again = count(seen, world.N, counted.decay, counted.half_life)
        assert np.array_equal(counted.popularity, again.popularity)
    assert made.chosen.head.transitions.half_life == made.final.head.transitions.half_life


def test_all_learned_values_are_counted(made):
    """By hand, from the sizes alone."""
    shape, architecture = made.final.head.tower.shape, type(made.final.reasoning).__name__
    N, T, D, H = shape.n_items, shape.text_dim, shape.width, shape.history_length
    norms, attention, hidden = 2 * 2 * D, (3 * D * D + 3 * D) + (D * D + D), (2 * D * D + 2 * D) + (2 * D * D + D)
    tower = T * D + shape.heads * H + shape.layers * (norms + attention + hidden) + 2 * D
    words = len(world.BRANDS) + len(world.THINGS) + 1 + N  # of "acme lamp no 0"; "no"; a number each
    expected = {
        "encoder": (1 + words) * T,  # one row for what is unknown
        "transitions": len(followed(world.make_rows(0.6).everything, shape)),
    }
    if architecture == "ReasoningResidual":
        signals, row, item, mixed = 1 + 7, 4, 3, 16
        expected["tower"] = tower + N * D
        expected["reasoning"] = 2 + 2 * 4 + 2 + 2 * T * 32 + 32 * T  # sharpness, floor; gates; the map of rank 32
        expected["mixer"] = signals + row * signals + (signals + item + row) * mixed + mixed + mixed
    else:
        expected["tower"] = tower  # no ids
        expected["reasoning"] = 2 * T * T + 2 * T * 3 + 3 + 1  # thought, answer; gates and their bias; scale
    assert made.final.parameters() == expected


def followed(examples: Examples, shape: TowerShape) -> set[tuple[int, int]]:
    """Every pair of an item in a history and a target of it."""
    pairs = zip(examples.owner, examples.targets, strict=True)
    return {(item, int(to)) for owner, to in pairs for item in examples.histories[owner][-shape.history_length :]}


def test_an_empty_history_gets_the_popularity(made):
    scores = made.final.score([[]])[0]
    popularity = torch.from_numpy(made.final.head.transitions.popularity)
    assert scores.argmax() == popularity.argmax()


def test_bad_calls_say_what_is_wrong(made, tmp_path):
    with pytest.raises(InputError, match="does not know"):
        made.final.history_logits([[world.N]])
    with pytest.raises(InputError, match="not of the same groups"):
        made.final.score([[1]], [[], []])
    with pytest.raises(InputError, match="cannot be read"):
        Rechead.load(tmp_path)


def test_a_broken_folder_is_an_input_error(made, tmp_path):
    made.final.save(tmp_path)
    whole = (tmp_path / "tower.safetensors").read_bytes()
    (tmp_path / "tower.safetensors").write_bytes(whole[:200])
    with pytest.raises(InputError, match="cannot be read"):
        Rechead.load(tmp_path)


def test_a_killed_fit_does_not_go_on_with_other_vectors(tmp_path):
    """The same name may hold other weights: what was fitted on their vectors is not mixed with these."""
    rows, recipe = world.make_rows(0.6), world.recipe(epochs=1)
    recipe = replace(recipe, tower=replace(recipe.tower, epochs=1))
    other = world.reader()
    other.items.mul_(-1)
    make_arms(rows, other, recipe, tmp_path / "both")
    own = world.reader()
    before = own.items.clone()
    found = make_arms(rows, own, recipe, tmp_path / "both")
    alone = make_arms(rows, world.reader(), recipe, tmp_path / "alone")
    assert torch.equal(own.items, before)
    assert torch.equal(found.final.head.tower.texts, before)
    assert torch.equal(found.final.score(HISTORIES, SAID), alone.final.score(HISTORIES, SAID))
