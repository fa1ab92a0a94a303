"""Which packages a second `make run` judges again: a failed one, once the world has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra import run
from infra.workspace import Workspace
from rporec import config
from rporec.files import sha256_file
from rporec.release import manifest, registry, summary, verdict
from rporec.release.registry import Place, Request
from tests.release import world
from tests.release.fixtures import package, place, shared, template, workspace  # noqa: F401 - fixtures


def test_a_failed_package_is_judged_again_when_the_champion_changed(
    workspace: Path,  # noqa: F811
    package: Path,  # noqa: F811
    place: Place,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "root"))
    other = world.write_package(root / summary.PACKAGE, root, mark="fails")
    (root / "records").mkdir()
    world.write_verdict(root / summary.GATES, other, failed="champion")
    note = {"package_hash": other, "verdict": "fail", "version": None, "run_id": "r"}
    world.write(root / summary.PROMOTION, {**note, "verdict_hash": sha256_file(root / summary.GATES)})
    for name in ("steps", "rporec"):
        (root / name).symlink_to(world.ROOT / name)
    space = Workspace(root, root, place.home, None, config.load(root / "params.yaml"), {}, {})
    acts: list[str] = []
    monkeypatch.setattr(run, "act", lambda _space, name, *_: acts.append(name))
    run.judge(space)
    assert acts == ["gate", "promote"]
    run.judge(space)
    assert acts == ["gate", "promote"]
    judged = world.write_verdict(place.home / "gates.json", manifest.read(package).package_hash)
    request = Request(package, verdict.read(judged), "", package.as_uri(), {"as_of": ""}, "someone")
    registry.promote(place, "rporec-demo", request, wait_seconds=0.0)
    run.judge(space)
    assert acts == ["gate", "promote"] * 2
    run.judge(space)
    assert acts == ["gate", "promote"] * 2
