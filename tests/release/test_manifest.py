from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rporec.errors import InputError
from rporec.release import manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "package"
    (root / "writer").mkdir(parents=True)
    (root / "a.json").write_text("{}")
    (root / "writer/model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (root / "table.parquet").write_bytes(b"PAR1....PAR1")
    manifest.write(root)
    return root


def test_a_whole_package_is_accepted_and_its_name_is_of_the_bytes_alone(folder: Path, tmp_path: Path) -> None:
    found = manifest.verify(folder)
    assert [entry.path for entry in found.files] == ["a.json", "table.parquet", "writer/model.safetensors"]
    moved = folder.rename(tmp_path / "elsewhere")
    assert manifest.verify(moved).package_hash == manifest.write(moved).package_hash == found.package_hash


def test_every_flipped_bit_of_every_file_is_found(folder: Path) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        good = path.read_bytes()
        for place in range(len(good)):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            if path.name == manifest.FILE_NAME and _same_statement(path, good):
                continue
            with pytest.raises(InputError):
                manifest.verify(folder)
        path.write_bytes(good)
    manifest.verify(folder)


def _same_statement(path: Path, good: bytes) -> bool:
    try:
        return bool(json.loads(path.read_bytes()) == json.loads(good))
    except ValueError:
        return False


def test_a_missing_and_an_added_file_are_named(folder: Path) -> None:
    (folder / "extra.json").write_text("1")
    with pytest.raises(InputError, match=r"does not name\n  file: .*extra\.json"):
        manifest.verify(folder)
    (folder / "extra.json").unlink()
    (folder / "a.json").unlink()
    with pytest.raises(InputError, match=r"missing\n  file: .*a\.json"):
        manifest.verify(folder)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "pytorch_model.bin", "a.joblib", "code.py", "archive.zip"])
def test_kinds_that_could_run_code_are_refused_when_made_and_when_read(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps([1]))
    for act in (manifest.write, manifest.verify):
        with pytest.raises(InputError, match="of a kind that it may not hold"):
            act(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "t.parquet", "a.json", "card.md"])
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_under_an_innocent_name_is_refused(folder: Path, name: str, protocol: int) -> None:
    (folder / name).write_bytes(pickle.dumps({"a": [1, 2]}, protocol=protocol))
    with pytest.raises(InputError, match="never a pickle"):
        manifest.write(folder)


def test_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(InputError, match="plain files only"):
        manifest.write(folder)


def test_a_package_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no manifest"):
        manifest.verify(tmp_path)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/passwd", "a/../a.json", "./a.json", "a\\b", "", "manifest.json"]
)
def test_a_path_out_of_the_package_is_refused(folder: Path, name: str) -> None:
    _restate(folder, lambda files: [*files, {"path": name, "size": 2, "sha256": "0" * 64}])
    with pytest.raises(InputError, match="outside of the package"):
        manifest.verify(folder)


def test_a_file_that_is_named_twice_is_refused(folder: Path) -> None:
    _restate(folder, lambda files: [*files, files[0]])
    with pytest.raises(InputError, match="or one twice"):
        manifest.verify(folder)


def test_a_manifest_of_brackets_without_end_is_refused_in_words(folder: Path) -> None:
    (folder / manifest.FILE_NAME).write_text("[" * 200_000)
    with pytest.raises(InputError, match="the manifest cannot be read"):
        manifest.verify(folder)


def test_links_are_refused_whatever_they_replace(folder: Path, tmp_path: Path) -> None:
    outside = (folder / "writer").rename(tmp_path / "outside")
    (folder / "writer").symlink_to(outside, target_is_directory=True)
    with pytest.raises(InputError, match="plain files only"):
        manifest.verify(folder)
    (folder / "writer").unlink()
    (folder / manifest.FILE_NAME).rename(tmp_path / "moved.json")
    (folder / manifest.FILE_NAME).symlink_to(tmp_path / "moved.json")
    with pytest.raises(InputError, match="has no manifest"):
        manifest.verify(folder)


def _restate(folder: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    """Write a manifest that is consistent in itself."""
    path = folder / manifest.FILE_NAME
    stated = json.loads(path.read_text())
    stated["files"] = change(stated["files"])
    stated["package_hash"] = manifest.package_hash(tuple(manifest.Entry(**entry) for entry in stated["files"]))
    path.write_text(json.dumps(stated))
