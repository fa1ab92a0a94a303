"""A version made again from its number: its code in a clean worktree, its data by hash, nothing from a cache."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote

import pytest

from rporec.release import lookup
from tests import project
from tests.project import git
from tests.worlds import World, only_me

pytestmark = pytest.mark.pipeline
REST = ["sequence", "backbone", "cot", "rechead", "align", "evaluate", "package"]


def _again(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    return project.make(world.clone, "reproduce", "VERSION=1", "PROFILE=tiny", *words, timeout=1800)


def _report(world: World) -> dict[str, object]:
    report: dict[str, object] = json.loads((world.clone / "reports/reproduce-tiny-v1.json").read_text())
    return report


def _kept(world: World) -> Path:
    """The artefacts of the run behind version 1."""
    version = lookup.by_number(lookup.default_uri(world.clone / "var"), "rporec-tiny", 1)
    assert version is not None
    return Path(unquote(version.source.removeprefix("file://"))).parent / "run"


def test_one_stage_of_a_version_is_made_again(world: World, base: Path) -> None:
    with only_me(base):
        before = git(world.clone, "status", "--porcelain")
        done = _again(world, "FROM=package")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "version 1 of rporec-tiny: same" in done.stdout
        assert _report(world) | {"stages": 0} == {
            "outcome": "same", "first": None, "ran": ["package"], "stages": 0, "tolerance": 0.005,
        }  # fmt: skip
        assert git(world.clone, "status", "--porcelain") == before


def test_the_lineage_of_the_champion_is_whole(world: World, base: Path) -> None:
    with only_me(base):
        done = project.make(world.clone, "lineage", "VERSION=1", "PROFILE=tiny")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "lineage: whole" in done.stdout
        states = dict(re.findall(r"^(\w[\w. ]*) \((verified|stated|broken)\)$", done.stdout, re.MULTILINE))
        assert {name for name, state in states.items() if state != "verified"} == {
            "version", "parent champion", "source files",
        }  # fmt: skip
        assert git(world.clone, "rev-parse", "HEAD").strip() in done.stdout
        picture = Path(done.stdout.splitlines()[-1].removeprefix("picture: "))
        assert ET.parse(picture).getroot().tag.endswith("svg")
        unknown = project.make(world.clone, "lineage", "VERSION=99", "PROFILE=tiny")
        assert unknown.returncode != 0
        assert "there is no such version" in unknown.stderr


@pytest.mark.platform
@pytest.mark.timeout(2400)
def test_a_version_is_the_same_when_everything_behind_the_data_runs_again(world: World, base: Path) -> None:
    """Neither the workspace nor the shared run cache is there any more; stages leave records when they really ran."""
    with only_me(base):
        aside = world.clone / "var/dvc/cache/runs"
        shutil.rmtree(aside, ignore_errors=True)
        done = _again(world)
        assert done.returncode == 0, done.stdout + done.stderr
        assert _report(world)["outcome"] == "same"
        root = world.clone / "runs/reproduce/tiny-v1"
        assert {path.stem for path in (root / "records").glob("*.json")} == {"validate", *REST}
        assert not aside.exists()


@pytest.mark.platform
@pytest.mark.timeout(1800)
def test_one_changed_input_is_found_where_it_first_shows(world: World, base: Path) -> None:
    with only_me(base):
        params = _kept(world) / "params.yaml"
        text = params.read_text()
        try:
            params.write_text(text.replace("sasrec_epochs: 10", "sasrec_epochs: 1"))
            done = _again(world, "FROM=evaluate")
        finally:
            params.write_text(text)
        assert done.returncode != 0, done.stdout
        assert "version 1 of rporec-tiny: different" in done.stdout
        assert _report(world)["first"].startswith("evaluate, ")  # type: ignore[attr-defined]
        assert re.search(r"moved most: \S+ of \w*sasrec: ", done.stdout)


@pytest.mark.platform
def test_data_that_nobody_has_any_more_are_told(world: World, base: Path) -> None:
    with only_me(base):
        places = [world.clone / "var/dvc/remote", world.clone / "var/dvc/cache/files"]
        for place in places:
            place.rename(place.with_name(f"{place.name}.away"))
        try:
            done = _again(world)
        finally:
            for place in places:
                place.with_name(f"{place.name}.away").rename(place)
        assert done.returncode != 0
        assert "the outputs of ingest cannot be had by hash" in done.stderr
        assert "FROM=ingest" in done.stderr
        refused = _again(world, "FROM=nothing")
        assert refused.returncode != 0
        assert "no such stage" in refused.stderr
