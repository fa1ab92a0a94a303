"""One rule for RPOREC_HOME: the service and the Bento ask the same function as stages and commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.home import home_folder
from rporec.release.place import locate


@pytest.mark.parametrize("given", ["", " "])
def test_set_to_nothing_it_is_not_the_current_folder(tmp_path: Path, given: str) -> None:
    for asked in (home_folder, locate):
        with pytest.raises(InputError, match="set but empty"):
            asked(tmp_path, {"RPOREC_HOME": given})


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no folder"):
        home_folder(tmp_path, {"RPOREC_HOME": str(tmp_path / "file")})


def test_a_place_is_made_of_three_variables_and_shows_no_password(tmp_path: Path) -> None:
    assert home_folder(tmp_path, {}) == tmp_path / "var"
    place = locate(tmp_path, {"RPOREC_HOME": str(tmp_path)})
    assert (place.uri, place.home) == (f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert (place.audit.url, place.audit.lock) == (place.uri, tmp_path / "audit.lock")
    server = {"RPOREC_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "http://localhost:1"}
    assert locate(tmp_path, server).audit.url == f"sqlite:///{tmp_path}/audit.db"
    named = locate(tmp_path, {**server, "RPOREC_AUDIT_URL": "postgresql://ada:hush@localhost/audit"})
    assert named.audit.url == "postgresql://ada:hush@localhost/audit"
    assert "hush" not in repr(named) + repr(named.audit)
    own = locate(tmp_path, {**server, "MLFLOW_TRACKING_URI": "postgresql://ada@localhost/mlflow"})
    assert own.audit.url == own.uri
