from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from rporec import tables
from rporec.backbone.generate import Sampling
from rporec.backbone.write import Writing, groups_of, write_completions
from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.reasoning import lookup
from rporec.reasoning.parse import parse
from rporec.reasoning.prompt import FOLLOWED, NEIGHBOURS, build_prompt
from rporec.rechead.model import Rechead
from rporec.recommender import Recommender
from rporec.release import layout, manifest
from tests.release import world
from tests.release.fixtures import package, shared, workspace  # noqa: F401 - fixtures


@pytest.fixture(scope="module")
def recommender(workspace: Path) -> Recommender:  # noqa: F811
    return Recommender.load(workspace / "scratch/package")


def test_scores_online_are_those_offline(recommender: Recommender, workspace: Path) -> None:  # noqa: F811
    """Offline: all test rows at once, completions of a batch, the Rechead of the training folder."""
    rows = tables.read(workspace / "outputs/sequence/test.parquet", tables.ROWS)
    histories = rows["history"].to_list()
    reasoning = recommender.write_reasoning(histories)
    assert any(one.well_formed for one in reasoning)
    head = Rechead.load(workspace / "outputs/rechead/final")
    offline = head.score(histories, [[one] for one in reasoning]).exp().numpy()
    for place, history in enumerate(histories):
        answer = recommender.recommend([f"i{item:02d}" for item in history], 20)
        expected = np.sort(offline[place])[::-1][:20]
        np.testing.assert_allclose([item.score for item in answer.items], expected, atol=1e-5)
        for item in answer.items:
            assert abs(item.score - offline[place][int(item.item_id[1:])]) <= 1e-5
        assert (answer.thought, answer.answer) == (reasoning[place].thought, reasoning[place].answer)


EVIDENCE = {"followed": 2, "neighbours": 1, "description_words": 3}


@pytest.fixture(scope="module")
def informed(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("informed") / "package"
    settings = dataclasses.replace(world.SETTINGS, max_prompt_tokens=160, evidence=EVIDENCE)
    world.write_package(folder, workspace, settings=settings)
    return folder


def test_prompts_served_are_those_evaluated(informed: Path, workspace: Path, tmp_path: Path) -> None:  # noqa: F811
    served = Recommender.load(informed)
    rows = pl.concat(
        tables.read(workspace / f"outputs/sequence/{part}.parquet", tables.ROWS) for part in ("train", "valid", "test")
    )
    near = lookup.load_neighbours(workspace / "outputs/backbone/neighbours.safetensors")
    evidence = lookup.as_of(["test"], rows, lookup.Kinds(**EVIDENCE), served.catalogue, near)
    greedy = Sampling(num_samples=1, temperature=0.0, max_new_tokens=40, batch_size=8, seed=0)
    groups = groups_of(rows.filter(pl.col("slice") == "test"))
    writing = Writing(greedy, prompt_items=3, max_prompt_tokens=160, shard_groups=50)
    evaluated = write_completions(served.writer, groups, served.catalogue, writing, tmp_path, evidence).completions
    assert evaluated["prompt"].str.contains(FOLLOWED, literal=True).all()
    assert evaluated["prompt"].str.contains(NEIGHBOURS, literal=True).any()
    assert served.prompts(groups["history"].to_list()) == evaluated["prompt"].to_list()


def test_a_package_without_its_evidence_is_refused(informed: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(informed, tmp_path / "package")
    (copied / layout.EVIDENCE).unlink()
    manifest.write(copied)
    with pytest.raises(InputError, match="evidence cannot be read"):
        Recommender.load(copied)


@pytest.mark.parametrize("wrong", [{"gossip": 1}, {"followed": "2"}, {"neighbours": -1}])
def test_a_package_that_asks_for_unknown_evidence_is_refused(
    informed: Path, tmp_path: Path, wrong: dict[str, object]
) -> None:
    copied = shutil.copytree(informed, tmp_path / "package")
    write_json(copied / layout.SERVING, {**read_json(copied / layout.SERVING), "evidence": wrong})
    manifest.write(copied)
    with pytest.raises(InputError, match="cannot show") as caught:
        Recommender.load(copied)
    assert f"evidence.{next(iter(wrong))}" in caught.value.message()


def test_a_package_older_than_evidence_shows_none(package: Path, recommender: Recommender) -> None:  # noqa: F811
    settings = read_json(package / layout.SERVING)
    assert not (package / layout.EVIDENCE).exists()
    write_json(package / layout.SERVING, {key: value for key, value in settings.items() if key != "evidence"})
    manifest.write(package)
    histories = [[1], [3, 4, 5, 6]]
    assert Recommender.load(package).prompts(histories) == recommender.prompts(histories)
    assert recommender.prompts(histories) == [build_prompt(h, recommender.catalogue, 3) for h in histories]


def test_reasoning_moves_the_ranking_and_none_is_the_head_alone(recommender: Recommender) -> None:
    told = parse("<think>They want a Dyno stool.</think><answer>Dyno stool number 23; stool; high price</answer>")
    alone, with_reasoning = recommender.probabilities([0, 1], None), recommender.probabilities([0, 1], told)
    assert with_reasoning[23] > alone[23] + 1e-4
    np.testing.assert_allclose([alone.sum(), with_reasoning.sum()], 1.0, atol=1e-5)


def test_long_histories_count_by_their_newest_items(recommender: Recommender) -> None:
    newest = ["i03", "i09", "i15", "i21", "i02"]
    short, long = recommender.recommend(newest, 5), recommender.recommend(["i10", "i11", *newest], 5)
    assert short.items == long.items
    assert short.thought == long.thought


def test_seen_items_are_left_out_and_all_items_come_when_asked(recommender: Recommender) -> None:
    history = ["i00", "i01", "i00"]
    everything = recommender.recommend(history, 20, exclude_seen=True)
    assert len(everything.items) == 20
    assert not {"i00", "i01"} & {item.item_id for item in everything.items}
    scores = [item.score for item in everything.items]
    assert scores == sorted(scores, reverse=True)


def test_the_fallback_is_popularity_and_says_so(recommender: Recommender, workspace: Path) -> None:  # noqa: F811
    parts = [tables.read(workspace / f"outputs/sequence/{name}.parquet", tables.ROWS) for name in ("train", "valid")]
    counts = np.bincount(pl.concat(parts)["target"].to_numpy(), minlength=world.N)
    for history in ([], ["nowhere", "nowhere", "elsewhere"]):
        answer = recommender.recommend(history, 3)
        assert (answer.ranking, answer.reasoning_source, answer.thought) == ("popularity", "none", "")
        assert answer.unknown_ids == tuple(dict.fromkeys(history))
        assert [item.item_id for item in answer.items] == [f"i{i:02d}" for i in np.argsort(-counts, kind="stable")[:3]]
        assert answer.items[0].score == counts.max() / counts.sum()


def test_hiding_the_reasoning_does_not_change_the_ranking(recommender: Recommender) -> None:
    shown, hidden = (recommender.recommend(["i01"], 5, explain=explain) for explain in (True, False))
    assert shown.thought
    assert (hidden.thought, hidden.answer) == ("", "")
    assert (hidden.items, hidden.reasoning_source) == (shown.items, "live")


def test_a_broken_completion_is_not_read(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommender, "write_reasoning", lambda histories: [parse("<think>cut off") for _ in histories])
    answer = recommender.recommend(["i01"], 20)
    assert (answer.reasoning_source, answer.ranking, answer.thought) == ("none", "rechead", "")
    expected = np.sort(recommender.probabilities([1], None))[::-1][:20]
    np.testing.assert_allclose([item.score for item in answer.items], expected)


@pytest.mark.parametrize(("history", "k", "field"), [([], 0, "k"), ([], 21, "k"), (["i01"] * 31, 3, "history")])
def test_out_of_range_is_refused(recommender: Recommender, history: list[str], k: int, field: str) -> None:
    with pytest.raises(InputError) as told:
        recommender.recommend(history, k)
    assert told.value.field == field


def test_a_changed_package_is_not_loaded(package: Path) -> None:  # noqa: F811
    path = package / "rechead/tower.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="was changed"):
        Recommender.load(package)


def test_parts_of_two_catalogues_are_refused(package: Path) -> None:  # noqa: F811
    counts = tables.read(package / layout.POPULARITY, layout.POPULARITY_TABLE)
    tables.write(counts.reverse(), package / layout.POPULARITY, layout.POPULARITY_TABLE)
    manifest.write(package)
    with pytest.raises(InputError, match="not of one catalogue"):
        Recommender.load(package)


def test_threads_are_set_only_when_asked(package: Path) -> None:  # noqa: F811
    before = torch.get_num_threads()
    try:
        Recommender.load(package)
        assert torch.get_num_threads() == before
        Recommender.load(package, threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_the_package_moves_without_its_surroundings(package: Path, tmp_path: Path) -> None:  # noqa: F811
    moved = shutil.move(package, tmp_path / "elsewhere")
    assert Recommender.load(Path(moved)).recommend(["i01"], 1).items
