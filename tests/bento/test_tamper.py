"""A package that somebody touched is not loaded, and the model that is loaded goes on answering."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from bento import runtime, settings
from rporec import config
from rporec.errors import InputError
from rporec.recommender import Recommender
from rporec.release import lookup, manifest
from rporec.release.registry import Place
from rporec.release.signature import SIGNING_KEY, UNSIGNED, Trust, public_key, signer, trust_of
from tests.release import registered, world

KEY, OTHER = "33" * 32, "44" * 32
KEYS = {SIGNING_KEY: KEY}


def _flip(package: Path) -> None:
    path = package / "rechead/tower.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _link(package: Path) -> None:
    outside = (package / "items.parquet").rename(package.parent / "items.parquet")
    (package / "items.parquet").symlink_to(outside)


def _escape(package: Path) -> None:
    """A manifest that is consistent in itself and names a file that is there, outside."""
    path = package / manifest.FILE_NAME
    stated = json.loads(path.read_text())
    stated["files"].append({"path": "../outside.json", "size": 2, "sha256": "0" * 64})
    stated["package_hash"] = manifest.package_hash(tuple(manifest.Entry(**entry) for entry in stated["files"]))
    path.write_text(json.dumps(stated))
    (package.parent / "outside.json").write_text("{}")


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (_flip, "was changed"),
    "missing": (lambda package: (package / "popularity.parquet").unlink(), "is missing"),
    "added": (lambda package: (package / "more.json").write_text("{}"), "does not name"),
    "linked": (_link, "plain files only"),
    "escaping": (_escape, "outside of the package"),
    "another key": (lambda package: manifest.write(package, signer("ed25519", {SIGNING_KEY: OTHER})), "another key"),
    "unsigned": (lambda package: manifest.write(package), "is not signed"),
    "no manifest": (lambda package: (package / manifest.FILE_NAME).unlink(), "no manifest"),
}


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust("ed25519", (public_key(bytes.fromhex(KEY)),))


@pytest.fixture(scope="module")
def signed(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed package; do not change it."""
    folder = tmp_path_factory.mktemp("signed") / "package"
    world.write_package(folder, workspace, sign=signer("ed25519", KEYS))
    return folder


@pytest.fixture(scope="module")
def running(signed: Path, trust: Trust) -> Recommender:
    return Recommender.load(signed, trust=trust)


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_a_touched_package_is_refused_and_the_loaded_one_goes_on(
    kind: str, signed: Path, running: Recommender, trust: Trust, tmp_path: Path
) -> None:
    before = running.recommend(["i01", "i02"], 5)
    package = Path(shutil.copytree(signed, tmp_path / "package"))
    act, told = TAMPERINGS[kind]
    act(package)
    with pytest.raises(InputError, match=told):
        Recommender.load(package, trust=trust)
    assert running.recommend(["i01", "i02"], 5) == before


def test_a_pickle_is_refused_when_it_is_to_be_signed_and_when_read(signed: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(signed, tmp_path / "package"))
    (package / "rechead/notes.txt").write_bytes(pickle.dumps({"a": [1, 2]}, 0))
    for act in (lambda: manifest.write(package, signer("ed25519", KEYS)), lambda: Recommender.load(package)):
        with pytest.raises(InputError, match="never a pickle"):
            act()


def test_a_champion_that_was_touched_or_signed_by_another_does_not_replace_what_runs(
    place: Place, signed: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the service loads: the alias moves to a version that is not whole, then to one of another key."""
    root = tmp_path / "root"
    root.mkdir()
    text = (world.ROOT / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("signature: none", "signature: ed25519"))
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    monkeypatch.setenv(SIGNING_KEY, KEY)
    trusted = Place(place.uri, place.home, trust=trust_of("ed25519", KEYS))
    first = Path(shutil.copytree(signed, tmp_path / "first"))
    registered.promote(trusted, first, as_of="")
    running = runtime.first_model(settings.load(root))
    before = running.recommender.recommend(["i01"], 5)
    second = tmp_path / "second"
    world.write_package(second, workspace, mark="2", sign=signer("ed25519", KEYS))
    registered.promote(trusted, second, as_of="")
    found = lookup.by_alias(place.uri, "rporec-demo", "champion")
    assert found is not None
    _flip(Path(unquote(found.source.removeprefix("file://"))))
    with pytest.raises(InputError, match="was changed"):
        runtime.first_model(settings.load(root))
    third = tmp_path / "third"
    world.write_package(third, workspace, mark="3", sign=signer("ed25519", {SIGNING_KEY: OTHER}))
    with pytest.raises(InputError, match="another key"):
        registered.promote(trusted, third, as_of="")
    registered.promote(place, third, as_of="")  # by somebody with write access to the registry, whatever the params say
    with pytest.raises(InputError, match="another key"):
        runtime.first_model(settings.load(root))
    assert running.recommender.recommend(["i01"], 5) == before
    assert running.version == 1
    monkeypatch.setenv("RPOREC_PACKAGE", str(workspace / "scratch/package"))
    with pytest.raises(InputError, match="is not signed"):
        runtime.first_model(settings.load(root))


def test_a_bento_asks_for_what_it_was_built_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bento").mkdir()
    stated = yaml.safe_load((world.ROOT / "params.yaml").read_text())
    for scheme, trusted in (("none", UNSIGNED), ("ed25519", trust_of("ed25519", KEYS))):
        stated["package"]["signature"] = scheme
        settings.write_deployment(config.parse(stated, "params.yaml"), tmp_path)
        monkeypatch.setenv(SIGNING_KEY, KEY)
        assert settings.load(tmp_path).place.trust == trusted
    monkeypatch.delenv(SIGNING_KEY)
    with pytest.raises(InputError, match="no key to check"):
        settings.load(tmp_path)
