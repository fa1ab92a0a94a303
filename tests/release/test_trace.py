"""The lineage of a version: every link is checked, and a broken one is named."""

from __future__ import annotations

import dataclasses
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rporec.files import read_json, sha256_file
from rporec.release import manifest, outputs, trace, trace_picture
from rporec.release.kept import Kept
from rporec.release.lookup import Version
from rporec.release.trace import Found
from tests.release import world

COMMIT = "ab" * 20


@pytest.fixture
def found(package: Path, workspace: Path, tmp_path: Path) -> Found:
    """Version 2, judged against version 1, as the registry keeps it."""
    run = tmp_path / "run"
    run.mkdir()
    shaping = read_json(package / "params.json")
    (run / "params.yaml").write_text(yaml.safe_dump({**shaping, "run": {"profile": "demo", "seed": 7}}))
    (run / "dvc.lock").write_text("stages: {}\n")
    world.write(run / "source.lock.json", {"kind": "folder", "files": [{"name": "a.csv", "sha256": "cd" * 32}]})
    world.write(run / outputs.FILE.name, outputs.read(workspace, ["ingest"]))
    name = manifest.read(package).package_hash
    world.write_verdict(run / "gates.json", name, champion=1, champion_hash="ee" * 32)
    tags = {
        "git_commit": COMMIT, "dvc_lock_hash": sha256_file(run / "dvc.lock"), "package_hash": name, "verdict": "pass",
        "data_hash": world.data_hash(workspace / "outputs"), "verdict_hash": sha256_file(run / "gates.json"),
    }  # fmt: skip
    version = Version("rporec-demo", 2, package.as_uri(), "run-2", tags)
    parent = Version("rporec-demo", 1, "", "run-1", {"package_hash": "ee" * 32})
    return Found(version, ("champion",), package, Kept(run), "2026-01-01 a subject", parent)


def test_a_whole_chain_goes_from_the_bytes_to_the_files(found: Found) -> None:
    whole = trace.trace(found)
    assert whole.broken == ()
    verified = {name for name in trace.ORDER if whole.links[name].state == "verified"}
    assert verified == set(trace.ORDER) - {"version", "source files"}
    text = trace.told(whole)
    for told in (
        found.version.package_hash, "alias champion", "pass: ", "version 1", "ee" * 32, "2026-01-01 a subject",
        "profile demo, seed 7", f"items.parquet {found.kept.hashes['ingest']['items.parquet']}",  # type: ignore[index]
        "a.csv " + "cd" * 32, "lineage: whole",
    ):  # fmt: skip
        assert told in text, told


def test_what_the_dvc_remote_lacks_is_told(found: Found) -> None:
    whole = trace.trace(dataclasses.replace(found, owed_since="2026-01-05"))
    assert "not yet on the DVC remote, owed to it since 2026-01-05" in trace.told(whole)
    assert whole.broken == ()


def _tag(**tags: str) -> Callable[[Found], Found]:
    def change(found: Found) -> Found:
        version = dataclasses.replace(found.version, tags={**found.version.tags, **tags})
        return dataclasses.replace(found, version=version)

    return change


def _edit(name: str, old: str, new: str) -> Callable[[Found], Found]:
    def change(found: Found) -> Found:
        path = found.kept.folder / name
        path.write_text(path.read_text().replace(old, new))
        return found

    return change


def _flip(found: Found) -> Found:
    (found.package / "card.md").write_text("changed")
    return found


def _another_parent(found: Found) -> Found:
    return dataclasses.replace(found, parent=Version("rporec-demo", 1, "", "run-1", {"package_hash": "ff" * 32}))


def _lose(name: str) -> Callable[[Found], Found]:
    def change(found: Found) -> Found:
        (found.package / name).unlink()
        return found

    return change


BREAKS: dict[str, tuple[Callable[[Found], Found], str]] = {
    "a byte": (_flip, "served bytes"),
    "lost parameters": (_lose("params.json"), "params"),
    "a lost origin": (_lose("lineage.json"), "data tables"),
    "another package": (_tag(package_hash="00" * 32), "served bytes"),
    "a verdict for other bytes": (lambda found: _tag(package_hash="00" * 32)(found), "verdict"),
    "another parent": (_another_parent, "parent champion"),
    "a parameter": (_edit("params.yaml", "source: market", "source: folder"), "params"),
    "the lock": (_edit("dvc.lock", "{}", "{a: 1}"), "dvc.lock"),
    "the data": (_tag(data_hash="00" * 32), "data tables"),
    "a table": (_edit("outputs.json", '"items.parquet": "', '"items.parquet": "0'), "data tables"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_link_is_named(kind: str, found: Found) -> None:
    change, name = BREAKS[kind]
    broken = trace.trace(change(found))
    assert name in broken.broken
    assert f"lineage: broken at {', '.join(broken.broken)}" in trace.told(broken)


def test_what_cannot_be_checked_is_only_stated(found: Found) -> None:
    for name in ("outputs.json", "source.lock.json"):
        (found.kept.folder / name).unlink()
    older = dataclasses.replace(_tag(git_commit=f"{COMMIT}-dirty")(found), commit="", parent=None, aliases=())
    whole = trace.trace(older)
    assert whole.broken == ()
    for name in ("commit", "parent champion", "data tables", "source files"):
        assert whole.links[name].state == "stated", name
    assert "changed and not committed" in trace.told(whole)


def test_the_picture_shows_every_line_in_boxes_that_do_not_overlap(found: Found) -> None:
    """And reads as XML whatever a commit's subject holds, with nothing from outside."""
    hostile = dataclasses.replace(found, commit='2026 <script>alert("1")</script> & more ' + "x" * 200)
    whole = trace.trace(hostile)
    drawing = trace_picture.svg(whole)
    root = ET.fromstring(drawing)
    space = "{http://www.w3.org/2000/svg}"
    shown = "".join(text.text or "" for text in root.iter(f"{space}text")).replace(" ", "")
    for name in trace.ORDER:
        for line in (name, *whole.links[name].lines):
            assert line.replace(" ", "") in shown
    assert not [element for element in root.iter() if element.tag in (f"{space}script", f"{space}image")]
    assert "href" not in drawing
    boxes = [
        tuple(float(rect.get(key, "0")) for key in ("x", "y", "width", "height"))
        for rect in root.iter(f"{space}rect") if rect.get("fill") == "#f6f8fa"
    ]  # fmt: skip
    assert len(boxes) == len(trace.ORDER)
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for place, (x, y, w, h) in enumerate(boxes):
        assert x + w <= width
        assert y + h <= height
        for a, b, c, d in boxes[place + 1 :]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_a_picture_of_a_copy_is_the_same_bytes(found: Found, tmp_path: Path) -> None:
    copied = dataclasses.replace(found, kept=Kept(Path(shutil.copytree(found.kept.folder, tmp_path / "copy"))))
    assert trace_picture.svg(trace.trace(found)) == trace_picture.svg(trace.trace(copied))
