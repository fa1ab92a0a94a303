"""gates.json is believed only when it is a whole verdict, by the limits that hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from rporec import config
from rporec.errors import InputError
from rporec.evaluation import terms
from rporec.files import read_json
from rporec.release import verdict
from tests.release import world

LIMITS = config.load(world.ROOT / "params.yaml").gate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return world.write_verdict(tmp_path / "gates.json", "h", champion=3, champion_hash="c")


def _change(path: Path, **changes: object) -> None:
    world.write(path, {**read_json(path), **changes})


def _answers(**statuses: str) -> list[dict[str, str]]:
    return [{"name": name, "status": statuses.get(name, "pass")} for name in terms.GATES]


def test_a_verdict_is_read_with_all_that_binds_it(path: Path) -> None:
    found = verdict.read(path)
    assert (found.passed, found.word, found.package_hash, found.failed) == (True, "pass", "h", ())
    assert (found.champion, found.champion_hash, found.limits) == (3, "c", terms.limits_digest(LIMITS))
    world.write_verdict(path, "h", failed="form")
    refused = verdict.read(path)
    assert (refused.word, refused.champion, refused.champion_hash, refused.failed) == ("fail", None, "", ("form",))


def test_no_verdict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no verdict"):
        verdict.read(tmp_path / "gates.json")


@pytest.mark.parametrize(
    "gates",
    [
        [],
        _answers()[:-1],
        [*_answers(), {"name": "data", "status": "pass"}],
        [*_answers()[:-1], {"name": "mood", "status": "pass"}],
    ],
)
def test_every_gate_is_answered_once(path: Path, gates: list[dict[str, str]]) -> None:
    _change(path, gates=gates)
    with pytest.raises(InputError, match="does not answer exactly the gates"):
        verdict.read(path)


@pytest.mark.parametrize("status", ["PASS", "", "failed", "None"])
def test_an_unknown_status_is_refused(path: Path, status: str) -> None:
    _change(path, gates=_answers(form=status))
    with pytest.raises(InputError, match="unknown status"):
        verdict.read(path)


@pytest.mark.parametrize(
    ("word", "statuses", "right"),
    [
        ("pass", {}, True),
        ("fail", {}, False),
        ("pass", {"floor": "fail"}, False),
        ("fail", {"floor": "fail"}, True),
        ("pass", dict.fromkeys(terms.GATES, "not_applicable"), False),
        ("pass", {"champion": "not_applicable", "slices": "not_applicable"}, True),
        ("perhaps", {}, False),
    ],
)
def test_the_word_follows_from_the_gates(path: Path, word: str, statuses: dict[str, str], right: bool) -> None:
    _change(path, verdict=word, gates=_answers(**statuses))
    if right:
        assert verdict.read(path).word == word
        return
    with pytest.raises(InputError, match="contradicts"):
        verdict.read(path)


@pytest.mark.parametrize("missing", ["verdict", "package_hash", "champion", "limits", "gates"])
def test_a_part_that_is_missing_is_an_error_with_the_cure(path: Path, missing: str) -> None:
    world.write(path, {name: value for name, value in read_json(path).items() if name != missing})
    with pytest.raises(InputError, match=missing) as told:
        verdict.read(path)
    assert "make gate" in told.value.cure


def test_a_verdict_by_other_limits_is_refused(path: Path) -> None:
    judged = verdict.read(path)
    verdict.check_limits(judged, LIMITS)
    for other in ({"champion_margin": 0.5}, {"alpha": 0.1}, {"max_memory_mb": 1.0}):
        with pytest.raises(InputError, match="limits changed") as told:
            verdict.check_limits(judged, LIMITS.model_copy(update=other))
        assert "make gate" in told.value.cure
