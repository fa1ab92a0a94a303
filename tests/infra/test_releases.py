"""Whose registry the commands mean, and what they refuse before they touch it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from infra import releases
from rporec.errors import InputError
from tests.project import ROOT, git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that wants signed packages."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/tiny.yaml").write_bytes((ROOT / "profiles/tiny.yaml").read_bytes())
    params = YAML().load((ROOT / "params.yaml").read_text())
    params["package"]["signature"] = "hmac"
    with (tmp_path / "params.yaml").open("w") as stream:
        YAML().dump(params, stream)
    return tmp_path


def test_the_profile_names_the_model(checkout: Path) -> None:
    home = {"RPOREC_HOME": str(checkout / "home")}
    assert releases.ask("audit", checkout, home).model == "rporec-demo"
    asked = releases.ask("versions", checkout, {**home, "PROFILE": "tiny"})
    assert (asked.model, asked.place.home) == ("rporec-tiny", checkout / "home")
    with pytest.raises(InputError, match="profile"):
        releases.ask("audit", checkout, {**home, "PROFILE": "none"})


def test_a_rollback_wants_the_key_that_the_service_wants(checkout: Path) -> None:
    home = {"RPOREC_HOME": str(checkout / "home")}
    with pytest.raises(InputError, match="no key to check packages with"):
        releases.ask("rollback", checkout, home)
    asked = releases.ask("rollback", checkout, {**home, "RPOREC_VERIFY_KEY": "0" * 64})
    assert asked.place.trust.scheme == "hmac"


@pytest.mark.parametrize("given", ["x", "-1", "1.0", "²"])
def test_a_version_is_a_number(given: str) -> None:
    assert releases.wanted({"TO": " "}) is None
    assert releases.wanted({"TO": " 3 "}) == 3
    with pytest.raises(InputError, match="no version number"):
        releases.wanted({"TO": given})
