"""Last night's profile: kept by date, pinned strictly earlier, the same night twice is a no-op, damage is told once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import last_night, overlay
from rporec import config
from tests.project import ROOT

MIDNIGHT = {"2026-01-04": 1_767_484_800, "2026-01-05": 1_767_571_200, "2026-01-06": 1_767_657_600}


def _params(as_of: str) -> config.Params:
    return overlay.merge(ROOT, "tiny", f"ingest.as_of={as_of}", None)[1]


def _profile(as_of: str, rows: int = 70) -> dict[str, object]:
    return {
        "end": MIDNIGHT[as_of],
        "days": 7,
        "rows": rows,
        "features": {"price": {"edges": [1.0], "shares": [0.25, 0.75]}},
    }


def _night(root: Path, home: Path, as_of: str, rows: int = 70) -> bytes:
    """Pin, pretend that stage validate ran, keep; returns what was pinned."""
    last_night.pin(root, home, _params(as_of))
    file = root / "outputs" / "validate" / "profile.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(_profile(as_of, rows)))
    last_night.keep(root, home, _params(as_of))
    return (root / last_night.NAME).read_bytes()


def test_the_newest_earlier_night_is_pinned(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert _night(tmp_path / "4", home, "2026-01-04", rows=4) == b"{}\n"
    assert json.loads(_night(tmp_path / "6", home, "2026-01-06", rows=6))["as_of"] == "2026-01-04"
    between = json.loads(_night(tmp_path / "5", home, "2026-01-05", rows=5))
    assert (between["as_of"], between["profile"]["rows"]) == ("2026-01-04", 4), "not a later night"
    assert json.loads(_night(tmp_path / "6", home, "2026-01-06"))["profile"]["rows"] == 5


def test_the_same_night_again_touches_nothing(tmp_path: Path) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    _night(tmp_path / "old", home, "2026-01-04")
    first = _night(root, home, "2026-01-05")
    files = [root / last_night.NAME, *home.rglob("*.json")]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    assert len(files) == 3
    assert _night(root, home, "2026-01-05") == first
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before


def test_the_committed_file_is_that_of_a_first_night(tmp_path: Path) -> None:
    last_night.pin(tmp_path, tmp_path / "home", _params("2026-01-05"))
    assert (tmp_path / last_night.NAME).read_bytes() == (ROOT / last_night.NAME).read_bytes()


def test_a_run_without_a_date_takes_no_part(tmp_path: Path) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    _night(root, home, "2026-01-04")
    undated = _params("2026-01-05").model_copy(
        update={"ingest": _params("2026-01-05").ingest.model_copy(update={"as_of": None})}
    )
    last_night.pin(root, home, undated)
    last_night.keep(root, home, undated)
    assert (root / last_night.NAME).read_text() == "{}\n"
    assert [path.stem for path in home.rglob("*.json")] == ["2026-01-04"]


def test_the_outputs_of_another_night_are_not_kept(tmp_path: Path) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    _night(root, home, "2026-01-04")
    last_night.keep(root, home, _params("2026-01-05"))  # validate failed: the outputs are of the night before
    assert [path.stem for path in home.rglob("*.json")] == ["2026-01-04"]
    last_night.keep(tmp_path / "none", home, _params("2026-01-05"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"as_of": "2026-01-05"}', '{"as_of": "2026-01-05", "profile": {"rows": 1}}', "\xff"],
)
def test_a_damaged_profile_is_left_out_with_one_warning(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    _night(root, home, "2026-01-04")
    _night(root, home, "2026-01-05")
    (home / "profiles" / "tiny" / "2026-01-05.json").write_bytes(text.encode("latin-1"))
    last_night.pin(root, home, _params("2026-01-06"))
    assert json.loads((root / last_night.NAME).read_text())["as_of"] == "2026-01-04", "the next older one"
    assert len(caplog.records) == 1
    assert "2026-01-05.json is damaged" in caplog.text


def test_a_profile_under_another_date_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = tmp_path / "home"
    _night(tmp_path, home, "2026-01-04")
    kept = home / "profiles" / "tiny" / "2026-01-04.json"
    kept.rename(kept.with_name("2026-01-03.json"))
    last_night.pin(tmp_path, home, _params("2026-01-05"))
    assert (tmp_path / last_night.NAME).read_text() == "{}\n"
    assert "it is of 2026-01-04" in caplog.text
