"""What lies behind a name: other bytes are other weights, nothing else is, and nothing known is no difference."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from rporec import config, weights
from rporec.encode import source
from rporec.errors import InputError
from rporec.files import write_json
from tests.project import ROOT

PARAMS = config.parse(yaml.safe_load((ROOT / "params.yaml").read_text()), "params.yaml")


def backbone(name: str) -> config.BackboneParams:
    return PARAMS.backbone.model_copy(update={"source": "pretrained", "name": name})


def encoder(name: str) -> config.RecheadParams:
    return PARAMS.rechead.model_copy(update={"encoder": name})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "1_Pooling/config.json"):
        (folder / name).write_text(name)
    return folder


def test_embedded_ones_hang_on_no_file(tmp_path: Path) -> None:
    assert weights.of_backbone(PARAMS.backbone, tmp_path) == {"kind": "embedded"}
    assert weights.of_encoder(encoder(source.EMBEDDED), tmp_path) == {"kind": "embedded"}


def test_a_folder_is_its_files_wherever_it_lies(model: Path, tmp_path: Path) -> None:
    found = weights.of_backbone(backbone(str(model)), ROOT)
    assert [file["name"] for file in found["files"]] == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    assert weights.of_encoder(encoder("model"), tmp_path) == found
    moved = shutil.copytree(model, tmp_path / "moved")
    os.utime(moved / "config.json", (1, 1))
    assert weights.of_backbone(backbone(str(moved)), ROOT) == found
    for name in (".cache/huggingface/model.lock", ".git/index", "__pycache__/x.pyc"):
        (model / name).parent.mkdir(parents=True)
        (model / name).write_text("1")
    assert weights.of_backbone(backbone(str(model)), ROOT) == found


@pytest.mark.parametrize("change", ["replaced", "added", "removed"])
def test_other_files_are_other_weights(model: Path, tmp_path: Path, change: str) -> None:
    before = weights.of_encoder(encoder("model"), tmp_path)
    if change == "replaced":
        (model / "model.safetensors").write_text("MODEL.safetensors")  # as long as before
    elif change == "added":
        (model / "more.safetensors").write_text("")
    else:
        (model / "config.json").unlink()
    assert not weights.same(weights.of_encoder(encoder("model"), tmp_path), before)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def _cache(hub: Path, name: str, file: str, commit: str) -> None:
    """As a download leaves it."""
    folder = hub / f"models--{name.replace('/', '--')}"
    for path, text in ((folder / "refs/main", commit), (folder / "snapshots" / commit / file, "{}")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_name_is_the_commit_that_the_cache_holds(hub: Path, tmp_path: Path) -> None:
    _cache(hub, "owner/model", "config.json", "a" * 40)
    first = weights.of_backbone(backbone("owner/model"), tmp_path)
    assert first == {"kind": "name", "name": "owner/model", "commit": "a" * 40}
    _cache(hub, "owner/model", "config.json", "b" * 40)
    assert not weights.same(weights.of_backbone(backbone("owner/model"), tmp_path), first)
    assert not weights.same(weights.of_backbone(backbone("owner/other"), tmp_path), first)


def test_a_name_of_no_owner_is_the_loaders(hub: Path, tmp_path: Path) -> None:
    from rporec.encode import pretrained

    _cache(hub, f"{pretrained._NAMESPACE}/all-small", "modules.json", "c" * 40)
    assert weights.of_encoder(encoder("all-small"), tmp_path)["commit"] == "c" * 40
    assert "commit" not in weights.of_backbone(backbone("all-small"), tmp_path)


def test_the_runs_own_download_is_no_change(hub: Path, tmp_path: Path) -> None:
    planned = weights.of_backbone(backbone("owner/model"), tmp_path)
    assert planned == {"kind": "name", "name": "owner/model"}
    _cache(hub, "owner/model", "config.json", "a" * 40)
    assert weights.same(weights.of_backbone(backbone("owner/model"), tmp_path), planned)


def test_a_folder_that_is_gone_is_left_to_the_loader(hub: Path, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert weights.of_backbone(backbone(gone), tmp_path) == {"kind": "name", "name": gone}


def test_a_model_that_cannot_be_read_is_told(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(weights, "sha256_file", denied)  # root reads everything
    with pytest.raises(InputError, match=r"Permission denied(.|\n)*rechead\.encoder"):
        weights.of_encoder(encoder("model"), tmp_path)


def test_weights_that_were_not_planned_are_refused(model: Path, tmp_path: Path) -> None:
    lock = tmp_path / "backbone.lock.json"
    found = weights.of_backbone(backbone("model"), tmp_path)
    weights.require(found, lock, "backbone.name")  # nothing was planned
    write_json(lock, found)
    weights.require(found, lock, "backbone.name")
    write_json(lock, {"kind": "embedded"})
    with pytest.raises(InputError, match="not those that this run was planned for"):
        weights.require(found, lock, "backbone.name")
