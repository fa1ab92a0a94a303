"""Shared fixtures: one thread a test process, no network habits of the tools, no traces in the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def world(base: Path) -> World:
    """A clone after one undisturbed run of profile tiny."""
    return shared_world(base)


# Long files first, each kept on one process: the two processes end at about the same time.
_LONG = (
    "test_pipeline.py",
    "test_resume.py",
    "test_gates_bite.py",
    "dags/test_night.py",
    "test_readme_commands.py",
    "test_bad_input.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first."""

    def place(item: pytest.Item) -> int:
        file = item.nodeid.split("::")[0]
        return next((number for number, name in enumerate(_LONG) if file.endswith(f"/{name}")), len(_LONG))

    items.sort(key=place)
