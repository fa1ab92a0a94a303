"""Which champion a night goes on from: a real registry and DVC cache, nights of a little checkout, no stage is run."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from infra import night, parent, workspace
from rporec.errors import InputError
from rporec.files import read_json, sha256_file, sha256_path, write_text
from rporec.parent import FOLDER, NAME, STAGES
from rporec.release import moves
from rporec.release.lookup import CHAMPION
from rporec.release.moves import Cause
from rporec.release.place import client
from rporec.release.registry import Place
from tests.infra.test_night import checkout
from tests.release.fixtures import place, shared, template

__all__ = ["checkout", "place", "shared", "template"]
MODEL = "rporec-tiny"
SUNDAY, MONDAY, TUESDAY = "2026-01-04", "2026-01-05", "2026-01-06"


def _md5(path: Path, data: bytes) -> str:
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    name = f"{digest}.dir" if path.suffix == ".dir" else digest
    write_text(path.parent / name[:2] / name[2:], data.decode())
    return name


def _cached(home: Path, text: str) -> str:
    """Put a folder of one file `model/weights` into the DVC cache; returns its name there."""
    files = home / "dvc" / "cache" / "files" / "md5"
    listed = [{"md5": _md5(files / "file", text.encode()), "relpath": "model/weights"}]
    return _md5(files / "folder.dir", json.dumps(listed, sort_keys=True).encode())


def _night(checkout: Path, home: Path, date: str, change: str = "") -> Path:
    """A finished night: its commit holds a dvc.lock whose outputs lie in the cache."""
    night.prepare(date)
    root = checkout / "runs" / "nights" / date
    outs = {
        stage: [{"path": f"outputs/{stage}", "hash": "md5", "md5": _cached(home, f"{stage} {date}")}]
        for stage in STAGES
    }
    stages = {stage: {"cmd": "python", "outs": found} for stage, found in outs.items()}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    if change:
        old, new = change.split("->")
        text = (root / "params.yaml").read_text()
        assert old in text
        (root / "params.yaml").write_text(text.replace(old, new))
    night._commit(night.prepared(date), date)
    return root


def _promote(place: Place, root: Path, as_of: str) -> int:
    """Make a night's run a version and the champion, as far as the registry tells of it."""
    found = client(place)
    if moves.aliases(place, MODEL)[CHAMPION] is None:
        found.create_registered_model(MODEL)
    tags = {
        "as_of": as_of,
        "package_hash": f"p{as_of}",
        "git_commit": night.git(root, "rev-parse", "HEAD").strip(),
        "dvc_lock_hash": sha256_file(root / "dvc.lock"),
    }
    number = int(found.create_model_version(MODEL, f"file://{root}", tags=tags).version)
    moves.carry_out(place, MODEL, Cause("promote", "tests", "", "a test"), {CHAMPION: number})
    return number


@pytest.fixture
def nights(checkout: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, with a champion of Sunday night and, in service now, one of Tuesday night."""
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    for number, date in enumerate((SUNDAY, TUESDAY), start=1):
        assert _promote(place, _night(checkout, place.home, date), date) == number
    return checkout


def pinned(checkout: Path, date: str) -> dict[str, object]:
    found: dict[str, object] = read_json(checkout / "runs" / "nights" / date / NAME)
    return found


def test_the_newest_champion_with_older_data_is_pinned_and_its_outputs_come_here(nights: Path, place: Place) -> None:
    assert pinned(nights, SUNDAY) == {"scratch": "every 10th night is (nights.scratch_every)"}
    night.prepare(MONDAY)
    root, found = nights / "runs" / "nights" / MONDAY, pinned(nights, MONDAY)
    assert (found["version"], found["as_of"], found["package_hash"]) == (1, SUNDAY, f"p{SUNDAY}"), "not Tuesday's"
    assert found["commit"] == night.git(nights, "rev-parse", f"nights/{SUNDAY}").strip()
    assert (root / FOLDER / "rechead" / "model" / "weights").read_text() == f"rechead {SUNDAY}"
    assert found["outputs"]["backbone"]["sha256"] == sha256_path(root / FOLDER / "backbone")
    assert night.git(root, "status", "--porcelain").split() == ["M", "params.yaml", "M", NAME], "parent/ is no source"
    night._commit(night.prepared(MONDAY), MONDAY)
    assert _promote(place, nights / "runs" / "nights" / SUNDAY, SUNDAY) == 3
    shutil.rmtree(root / FOLDER)
    night.prepare(MONDAY)
    assert pinned(nights, MONDAY) == found, "a finished night keeps its parent"
    assert (root / FOLDER / "backbone" / "model" / "weights").read_text() == f"backbone {SUNDAY}"


def test_who_was_taken_back_is_no_parent(nights: Path, place: Place) -> None:
    night.prepare("2026-01-07")
    assert pinned(nights, "2026-01-07")["version"] == 2
    moves.carry_out(place, MODEL, Cause("rollback", "tests", "", "bad"), {CHAMPION: 1})
    night.prepare("2026-01-07")
    assert pinned(nights, "2026-01-07")["version"] == 1
    night.prepare("2026-01-03")
    assert pinned(nights, "2026-01-03") == {"scratch": "there is no champion with data before 2026-01-03"}


def test_outputs_that_are_gone_stop_the_night_with_the_cure(nights: Path, place: Place) -> None:
    shutil.rmtree(place.home / "dvc" / "cache" / "files")
    with pytest.raises(InputError, match="lost its outputs") as caught:
        night.prepare(MONDAY)
    assert "nights.warm_start: false" in caught.value.message()


def test_weights_of_another_shape_are_left_with_a_reason(checkout: Path, place: Place, monkeypatch) -> None:
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    root = _night(checkout, place.home, SUNDAY, "  text_dim: 32 ->  text_dim: 16 ")
    _promote(place, root, SUNDAY)
    night.prepare(MONDAY)
    assert pinned(checkout, MONDAY) == {"scratch": "rechead.text_dim was 16 in version 1 and is 32"}


def test_a_param_switches_it_off(nights: Path) -> None:
    file = nights / "params.yaml"
    file.write_text(file.read_text().replace("  warm_start: true ", "  warm_start: false "))
    night.git(nights, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--all", "--message", "off")
    night.prepare(MONDAY)
    assert pinned(nights, MONDAY) == {"scratch": "nights.warm_start is false"}


def test_a_run_that_is_no_night_starts_from_scratch(nights: Path) -> None:
    space = workspace.plan("tiny", "", "", nights)
    with workspace.locked(space.checkout, space.root):
        workspace.prepare(space)
    assert (space.root / NAME).read_text() == "{}\n"
    parent.bring(space)
    assert not (space.root / FOLDER).exists()
