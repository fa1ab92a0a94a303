"""What the image of the service serves: code and the parameters of one profile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bento import settings
from rporec import config
from tests.project import ROOT, environment


def _lay_out(folder: Path, profile: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.service_folder", str(folder)],
        cwd=ROOT, env=environment({"PROFILE": profile}), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_folder_serves_the_champion_of_its_profile(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "service"
    done = _lay_out(folder, "nightly")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"bento", "rporec", "params.yaml"}
    assert not list(folder.rglob("__pycache__"))
    assert config.load(folder / "params.yaml").run.profile == "nightly"
    for name in ("RPOREC_PACKAGE", "RPOREC_STORE", "RPOREC_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RPOREC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    told = settings.load(folder)
    assert (told.model, told.package, told.place.uri) == ("rporec-nightly", None, "http://mlflow:5000")
    again = _lay_out(folder, "nightly")
    assert again.returncode == 1
    assert "the folder exists" in again.stderr


def test_an_unknown_profile_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    done = _lay_out(tmp_path / "service", "nobody")
    assert done.returncode == 1
    assert "the profile does not exist" in done.stderr
    assert not (tmp_path / "service").exists()
