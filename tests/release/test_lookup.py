from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.release import lookup, manifest, registry
from rporec.release.lookup import Version
from rporec.release.registry import Place
from tests.release.world import ROOT


def _fill(place: Place) -> None:
    client = registry.client(place)
    for model in ("rporec-demo", "rporec-tiny"):
        client.create_registered_model(model)
        for number in (1, 2):
            tags = {"package_hash": f"{model}-{number}", "as_of": f"2026-01-0{number}"}
            client.create_model_version(model, f"file:///nowhere/{number}", tags=tags)
    client.set_registered_model_alias("rporec-demo", "champion", "2")
    client.set_registered_model_alias("rporec-demo", "previous", "1")
    client.set_registered_model_alias("rporec-tiny", "champion", "1")


def test_the_cheap_look_agrees_with_mlflow(place: Place) -> None:
    _fill(place)
    asked = [("alias", "champion"), ("alias", "previous"), ("alias", "none"), ("number", 1), ("number", 9)]
    asked += [("package_hash", "rporec-demo-1"), ("package_hash", "rporec-tiny-2"), ("package_hash", "no")]
    for model in ("rporec-demo", "rporec-tiny", "rporec-none"):
        for key, value in asked:
            assert lookup._newest(place.uri, model, key, value) == lookup._from_client(place.uri, model, key, value)
    champion = lookup.by_alias(place.uri, "rporec-demo", lookup.CHAMPION)
    assert champion is not None
    assert (champion.number, champion.package_hash, champion.as_of) == (2, "rporec-demo-2", "2026-01-02")


def test_no_database_and_a_database_in_the_making_hold_no_version(tmp_path: Path) -> None:
    uri = lookup.default_uri(tmp_path)
    assert lookup.by_alias(uri, "rporec-demo", "champion") is None
    assert not (tmp_path / "mlflow.db").exists()
    (tmp_path / "mlflow.db").touch()
    assert lookup.by_package(uri, "rporec-demo", "x") is None


def test_looking_imports_no_mlflow_and_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rporec.release import lookup, registry, summary;"
        f"place = registry.Place(lookup.default_uri(Path({str(tmp_path)!r})), Path({str(tmp_path)!r}));"
        "assert registry.champion(place, 'rporec-demo') is None;"
        "sys.exit(bool({'mlflow', 'torch', 'polars', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_package_in_a_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "with space").mkdir()
    version = Version("m", 1, (tmp_path / "with space").as_uri(), "r", {"package_hash": "x"})
    assert lookup.package_folder("sqlite:///x", version, tmp_path / "cache") == tmp_path / "with space"


def test_a_relative_sqlite_address_counts_from_here(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(place)
    monkeypatch.chdir(place.home)
    assert lookup.sqlite_file("sqlite:///mlflow.db") == place.home / "mlflow.db"
    found = lookup.by_alias("sqlite:///mlflow.db", "rporec-demo", lookup.CHAMPION)
    assert found is not None
    assert found.number == 2


class _Store:
    """A remote registry's artefacts: counts what is fetched from it."""

    def __init__(self, package: Path) -> None:
        self.package, self.fetched = package, 0
        self.meanwhile: Path | None = None

    def __call__(self, uri: str, source: str, folder: Path) -> Path:
        assert source == "mlflow-artifacts:/1/package"
        self.fetched += 1
        if self.meanwhile is not None:
            shutil.copytree(self.package, self.meanwhile)
        return Path(shutil.copytree(self.package, folder / "package"))


@pytest.fixture
def store(package: Path, monkeypatch: pytest.MonkeyPatch) -> _Store:
    store = _Store(package)
    monkeypatch.setattr(lookup, "_download", store)
    return store


def _remote(store: _Store) -> Version:
    tags = {"package_hash": manifest.read(store.package).package_hash}
    return Version("m", 1, "mlflow-artifacts:/1/package", "r", tags)


def test_a_remote_package_is_fetched_once_and_again_when_its_copy_is_damaged(store: _Store, tmp_path: Path) -> None:
    version, cache = _remote(store), tmp_path / "cache"
    for _ in range(2):
        folder = lookup.package_folder("http://x", version, cache)
        assert folder == cache / version.package_hash
        assert manifest.verify(folder).package_hash == version.package_hash
    assert store.fetched == 1
    (folder / "card.md").write_text("torn")
    assert lookup.package_folder("http://x", version, cache) == folder
    assert manifest.verify(folder).package_hash == version.package_hash
    assert store.fetched == 2
    assert [path.name for path in cache.iterdir()] == [version.package_hash]


def test_a_copy_that_another_process_puts_there_meanwhile_is_used(store: _Store, tmp_path: Path) -> None:
    version = _remote(store)
    store.meanwhile = tmp_path / "cache" / version.package_hash
    folder = lookup.package_folder("http://x", version, tmp_path / "cache")
    assert manifest.verify(folder).package_hash == version.package_hash


def test_what_is_not_the_package_is_not_kept(store: _Store, tmp_path: Path) -> None:
    version = _remote(store)
    (store.package / "card.md").write_text("changed")
    with pytest.raises(InputError, match="does not hold the package"):
        lookup.package_folder("http://x", version, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
