"""The Bento: made from the champion's package, holding code and package and nothing of the machine."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bento import build
from rporec.errors import InputError
from rporec.release import manifest, registry, verdict
from rporec.release.place import Place
from rporec.release.registry import Request
from tests.release import world


@pytest.fixture
def root(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the code and an empty registry."""
    monkeypatch.setenv("RPOREC_HOME", str(place.home))
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    root = tmp_path / "workspace"
    for name in ("bento", "rporec"):
        shutil.copytree(world.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(world.ROOT / "params.yaml", root)
    return root


def test_without_a_champion_there_is_no_bento(root: Path) -> None:
    with pytest.raises(InputError, match="no champion"):
        build.build(root)


def test_the_bento_holds_the_champion_and_no_path_of_this_machine(root: Path, place: Place, package: Path) -> None:
    package_hash = manifest.read(package).package_hash
    judged = verdict.read(world.write_verdict(place.home / "gates.json", package_hash))
    request = Request(package, judged, "", package.as_uri(), {"as_of": ""}, "someone")
    registry.promote(place, "rporec-demo", request, wait_seconds=0.0)
    tag = build.build(root)
    code = build.code_hash(root)
    assert tag == f"rporec:demo-v1-{package_hash[:12]}-{code[:8]}"
    bento = place.home / "bentoml/bentos/rporec" / tag.partition(":")[2]
    assert manifest.verify(bento / "src/outputs/package").package_hash == package_hash
    assert (bento / "src/bento/service.py").is_file()
    page = {path.name for path in (root / "bento/page").iterdir()}
    assert {path.name for path in (bento / "src/bento/page").iterdir()} == page > {"index.html"}
    assert not (bento / "src/params.yaml").exists()
    assert json.loads((bento / "src/bento/deployment.json").read_text())["profile"] == "demo"
    assert not {path.name for path in (root / "bento").glob("*.py")} - {p.name for p in (bento / "src/bento").iterdir()}
    users = re.findall(r"^USER (\S+)", (bento / "env/docker/Dockerfile").read_text(), re.MULTILINE)
    assert users[-1] not in ("root", "0")
    suspects = {path.suffix for path in bento.rglob("*") if path.is_file()} & {".pkl", ".pt", ".bin", ".pyc"}
    assert not suspects
    for path in bento.rglob("*"):
        if path.is_file() and path.suffix in {".yaml", ".json", ".txt", ".md", ".toml", ".sh", ""}:
            assert str(world.ROOT) not in path.read_text(encoding="utf-8", errors="ignore"), path
    before = bento.stat().st_mtime_ns
    assert build.build(root) == tag
    assert bento.stat().st_mtime_ns == before
    with (root / "bento/service.py").open("a") as code_file:
        code_file.write("# changed\n")
    assert build.code_hash(root) != code
