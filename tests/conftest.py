"""Shared fixtures: one thread a test process, no network habits of the tools, no traces in the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.worlds import World, shared_world

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caller's own settings out of the tests."""
    for name in (
        "RPOREC_HOME",
        "RPOREC_DATA",
        "RPOREC_PROFILE",
        "RPOREC_WORKSPACE",
        "VERSION",
        "FROM",
        "PROFILE",
        "DATA",
        "SET",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in (
        "RPOREC_SIGNING_KEY",
        "RPOREC_VERIFY_KEY",
        "MLFLOW_TRACKING_URI",
        "RPOREC_TEACHER_KEY",
        "ARMS",
        "SEEDS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")  # servers that tests start are reached directly


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


# Files that work in the shared world. They go to one process, which begins with them: two would wait for each other. Of
# the rest each file is kept on one process, for its fixtures. (xdist's own groups do not work with this pytest.)
_IN_WORLD = (
    "tests/test_pipeline.py",
    "tests/test_gates_bite.py",
    "tests/test_readme_commands.py",
    "tests/test_reproduce.py",
    "tests/test_resume.py",
    "tests/test_bad_input.py",
    "tests/infra/research/test_ablate.py",
    "tests/infra/research/test_study.py",
)


@pytest.fixture(scope="session")
def world(base: Path) -> World:
    """A clone after one undisturbed run of profile tiny."""
    return shared_world(base)


class _Files(LoadScopeScheduling):
    """Keeps a file on one process, and the files of the world together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "world" if file in _IN_WORLD else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Say which tests belong on one process."""
    return _Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of the world first; refuse one that is not listed as such."""
    for item in items:
        file = item.nodeid.split("::")[0]
        if isinstance(item, pytest.Function) and "world" in item.fixturenames and file not in _IN_WORLD:
            raise pytest.UsageError(f"{file} uses the shared world: list it in _IN_WORLD of tests/conftest.py")

    def place(item: pytest.Item) -> int:
        file = item.nodeid.split("::")[0]
        return _IN_WORLD.index(file) if file in _IN_WORLD else len(_IN_WORLD)

    items.sort(key=place)
