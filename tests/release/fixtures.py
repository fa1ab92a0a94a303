"""Fixtures for packages, registry and service: one toy package and one migrated registry, made once and copied."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from rporec.release import lookup, registry
from rporec.release.registry import Place
from tests.release import world


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all test processes of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def workspace(shared: Path) -> Path:
    """A workspace with the outputs before `package`, and one package in `scratch/package`; do not change it."""
    target = shared / "toy-workspace"
    with (shared / "toy-workspace.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            fresh = shared / "toy-workspace.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            world.write_outputs(fresh)
            world.write_package(fresh / "scratch/package", fresh)
            fresh.rename(target)
    return target


@pytest.fixture(scope="session")
def template(shared: Path) -> Path:
    """The migrated database of an empty registry; MLflow takes many seconds to make one."""
    home = shared / "registry-template"
    with (shared / "registry-template.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            home.mkdir(exist_ok=True)
            registry.prepare(Place(lookup.default_uri(home), home))
            (home / "done").touch()
    return home / "mlflow.db"


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Place:
    """An empty registry of one test."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(template, home / "mlflow.db")
    return Place(lookup.default_uri(home), home)


@pytest.fixture
def package(workspace: Path, tmp_path: Path) -> Path:
    """A package that a test may change."""
    return Path(shutil.copytree(workspace / "scratch/package", tmp_path / "package"))
