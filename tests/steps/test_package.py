from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from rporec import config
from rporec.errors import InputError
from rporec.files import read_json, sha256_path
from rporec.release import manifest, signature
from steps import package as step
from steps.stage import execute
from tests.release import world
from tests.release.fixtures import shared, workspace  # noqa: F401 - fixtures


@pytest.fixture
def root(workspace: Path, tmp_path: Path) -> Path:  # noqa: F811
    return Path(shutil.copytree(workspace, tmp_path / "root"))


def _run(root: Path) -> Path:
    execute("package", step.package, root, uses_torch=False)
    return root / "outputs/package"


def test_the_package_holds_what_serves_and_says_what_ships(root: Path) -> None:
    package = _run(root)
    found = manifest.verify(package)
    top = {entry.path.split("/")[0] for entry in found.files}
    assert top == {
        "rechead", "writer", "items.parquet", "popularity.parquet", "serving.json", "lineage.json", "params.json",
        "metrics.json", "card.md", "card.html",
    }  # fmt: skip
    lineage = read_json(package / "lineage.json")
    assert (lineage["profile"], lineage["ships"], lineage["as_of"]) == ("demo", "backbone", "2026-01-01")
    assert read_json(package / "metrics.json") == world.metrics()
    card = (package / "card.md").read_text()
    for told in ("# rporec-demo", "## Intended use", "## Data", "## Limits", lineage["data_hash"], "| rporec |"):
        assert told in card


def test_the_shipped_writer_is_the_one_that_align_chose(root: Path) -> None:
    (root / "outputs/align/policy/generation_config.json").write_text('{"policy": true}')
    backbone = _run(root) / "writer"
    assert sha256_path(backbone) == sha256_path(root / "outputs/backbone/model")
    world.write(root / "outputs/align/align.json", {"ships": "policy"})
    policy = _run(root) / "writer"
    assert sha256_path(policy) == sha256_path(root / "outputs/align/policy")
    assert "policy" in (root / "outputs/package/card.md").read_text()


def test_recheads_that_read_the_shipped_policy_are_the_ones_packaged(root: Path) -> None:
    world.write(root / "outputs/align/align.json", {"ships": "policy"})
    own = root / "outputs/align/rechead/final"
    shutil.copytree(root / "outputs/rechead/final", own)
    settings = read_json(own / "rechead.json")
    settings["weights"]["strength"] = 0.25
    world.write(own / "rechead.json", settings)
    packaged = _run(root) / "rechead"
    assert read_json(packaged / "rechead.json")["weights"]["strength"] == 0.25
    assert sha256_path(packaged) != sha256_path(root / "outputs/rechead/final")


def test_the_same_parts_give_the_same_bytes_wherever_and_whenever(root: Path, tmp_path: Path) -> None:
    first = manifest.read(_run(root)).package_hash
    moved = root.rename(tmp_path / "another-place")
    assert manifest.read(_run(moved)).package_hash == first
    for path in (moved / "outputs/package").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()


def test_what_does_not_shape_the_model_does_not_change_the_package(root: Path) -> None:
    first = manifest.read(_run(root)).package_hash
    for section, key, value, same in (
        ("serve", "port", 3999, True),
        ("serve", "client_rate", 7.0, True),
        ("gate", "resamples", 999, True),
        ("run", "dvc_remote", "elsewhere", True),
        ("backbone", "teacher", {"timeout": 9.0, "retries": 1, "concurrency": 9}, True),
        ("serve", "max_reasoning_tokens", 65, False),
    ):
        params = yaml.safe_load((root / "params.yaml").read_text())
        params[section][key] = {**params[section][key], **value} if isinstance(value, dict) else value
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        assert (manifest.read(_run(root)).package_hash == first) == same, (section, key)


def test_the_package_is_signed_as_the_params_say_under_the_same_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("signature: none", "signature: ed25519"))
    with pytest.raises(InputError, match="no key to sign"):
        _run(root)
    monkeypatch.setenv(signature.SIGNING_KEY, "55" * 32)
    found = signature.verify(_run(root), signature.trust_of("ed25519", {signature.SIGNING_KEY: "55" * 32}))
    assert found.signature is not None
    assert b"55" * 32 not in b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


def test_a_pickle_in_the_model_folder_stops_the_stage_and_leaves_the_last_package(root: Path) -> None:
    first = manifest.read(_run(root)).package_hash
    (root / "outputs/backbone/model/training_args.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match="of a kind that it may not hold"):
        _run(root)
    assert manifest.verify(root / "outputs/package").package_hash == first


@pytest.mark.parametrize("ships", ["policy", "backbone"])
def test_a_policy_with_another_tokenizer_stops_the_stage(root: Path, ships: str) -> None:
    world.write(root / "outputs/align/align.json", {"ships": ships})
    path = root / "outputs/align/policy/tokenizer.json"
    world.write(path, {**read_json(path), "normalizer": {"type": "Lowercase"}})
    with pytest.raises(InputError, match="tokenizer is not the backbone's"):
        _run(root)
    assert not (root / "outputs/package").exists()


def test_the_params_that_the_stage_depends_on_are_those_that_it_writes(root: Path) -> None:
    """Else a change would leave an old value in the package, or build it again for nothing."""
    listed = yaml.safe_load((world.ROOT / "dvc.yaml").read_text())["stages"]["package"]["params"]
    written = step.shaping_params(config.load(root / "params.yaml"))
    leaves = {f"{section}.{key}" for section, values in written.items() for key in values}
    covered = {leaf for leaf in leaves if leaf in listed or leaf.split(".")[0] in listed}
    assert leaves == covered
    assert {entry.split(".")[0] for entry in listed} == set(written)
    assert {entry for entry in listed if "." in entry} <= leaves
