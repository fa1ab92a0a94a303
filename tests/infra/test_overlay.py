from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infra import overlay
from rporec import config
from rporec.errors import InputError
from tests.project import ROOT


def _merge(profile: str, settings: str = "", place: str | None = None) -> config.Params:
    return overlay.merge(ROOT, profile, settings, place)[1]


def test_settings_are_nested_yaml_values() -> None:
    got = overlay.parse_settings(
        'align.steps=50 evaluate.cutoffs=[5,10] a.b.c=1e-6 x.y="two words" i.d=2026-01-01 n.o=null'
    )
    assert got == {
        "align": {"steps": 50}, "evaluate": {"cutoffs": [5, 10]}, "a": {"b": {"c": 1e-6}}, "x": {"y": "two words"},
        "i": {"d": "2026-01-01"}, "n": {"o": None},
    }  # fmt: skip


@pytest.mark.parametrize("text", ["align.steps", "steps=5", "align.=5", "align..x=1", "align.steps='5"])
def test_malformed_settings_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="SET"):
        overlay.parse_settings(text)


def test_settings_win_over_profile_over_params() -> None:
    base = config.load(ROOT / "params.yaml")
    assert _merge("tiny").align.steps != base.align.steps
    assert _merge("tiny", "align.steps=3").align.steps == 3
    assert _merge("tiny").align.beta == base.align.beta


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("align.step=5", ["align.step", "SET", "remove the key"]),
        ("align.steps=many", ["align.steps", "SET", "many"]),
        ("align.steps=-1", ["align.steps", "SET", "-1", "greater than or equal to 0"]),
        ("nothing.at_all=1", ["nothing", "SET"]),
        ("run.profile=other", ["run.profile", "must be tiny"]),
    ],
)
def test_bad_settings_name_field_value_rule_and_cure(settings: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        _merge("tiny", settings)
    message = caught.value.message()
    assert all(word in message for word in [*words, "cure"]), message


def test_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="tiny") as caught:
        _merge("tinny")
    assert "tinny" in caught.value.message()


def test_a_bad_value_is_traced_to_its_profile(tmp_path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "profiles" / "odd.yaml").write_text("run: {profile: odd}\nrechead: {width: 3}\n")
    with pytest.raises(InputError) as caught:
        overlay.merge(tmp_path, "odd", "", None)
    assert "profiles/odd.yaml" in caught.value.message()


QUERIES = 'ingest.sql.interactions="select 1" ingest.sql.items="select 2"'
DATABASE = "postgresql+psycopg://reader:hush@db.example/shop"


@pytest.mark.parametrize(
    ("place", "settings", "source"),
    [("/data/shop", "", "folder"), ("s3://bucket/shop", "", "folder"), (DATABASE, QUERIES, "sql")],
)
def test_data_turns_a_market_profile_to_where_it_lies(place: str, settings: str, source: str) -> None:
    params = _merge("demo", settings, place)
    assert params.ingest.source == source
    assert params.ingest.as_of is None
    assert "simulated" not in params.package.data_terms


def test_a_named_source_is_kept() -> None:
    for place in ("/data/ratings.zip", "s3://bucket/ratings"):
        assert _merge("demo", "ingest.source=movielens ingest.as_of=null", place).ingest.source == "movielens"
    assert _merge("demo", f"ingest.source=sql {QUERIES}", None).ingest.source == "sql", "the place may come later"


@pytest.mark.parametrize(
    ("place", "settings", "word"),
    [
        (DATABASE, "ingest.source=folder", "ingest.source=sql"),
        ("/data/shop.db", f"ingest.source=sql {QUERIES}", "sqlite:///"),
        ("s3://bucket/shop", f"ingest.source=sql {QUERIES}", "ingest.source=folder"),
        ("/data/shop", "ingest.source=market ingest.as_of=2026-01-01", "leave DATA out"),
        (DATABASE, "", "set ingest.sql.interactions"),
    ],
)
def test_a_place_that_does_not_fit_the_source_is_refused_without_its_password(
    place: str, settings: str, word: str
) -> None:
    with pytest.raises(InputError) as caught:
        _merge("demo", settings, place)
    assert word in caught.value.message()
    assert "hush" not in caught.value.message()


def test_written_parameters_are_the_merged_ones_with_comments(tmp_path) -> None:
    changes, params = overlay.merge(ROOT, "tiny", "align.learning_rate=1e-6 run.seed=9", None)
    text = overlay.apply(ROOT / "params.yaml", changes)
    (tmp_path / "params.yaml").write_text(text)
    assert config.load(tmp_path / "params.yaml") == params
    assert "# optimizer steps" in text


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
def test_profile_is_valid_names_itself_and_holds_only_differences(profile: str) -> None:
    assert _merge(profile).run.profile == profile
    base = yaml.safe_load((ROOT / "params.yaml").read_text())
    own = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text())
    for name in own.pop(overlay.EXTENDS, []):
        base = overlay.combine(base, yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text()))

    def same(over: dict, under: dict, path: str) -> list[str]:
        found = []
        for key, value in over.items():
            if isinstance(value, dict):
                found += same(value, under[key], f"{path}{key}.")
            elif under[key] == value:
                found.append(path + key)
        return found

    if profile != "nightly":  # which lies on top of others, too, and so may say again what params.yaml says
        assert same(own, base, "") == []
    for key, value in own.get("gate", {}).items():
        smaller_is_tighter = key.endswith("margin") or key.startswith("max_") or key == "alpha"
        assert value < base["gate"][key] if smaller_is_tighter else value > base["gate"][key], f"{key} is loosened"


def _folder(tmp_path: Path, **profiles: str) -> Path:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for name, text in profiles.items():
        (tmp_path / "profiles" / f"{name}.yaml").write_text(text)
    return tmp_path


def test_a_profile_stands_on_those_that_it_extends_the_first_one_lowest(tmp_path: Path) -> None:
    folder = _folder(
        tmp_path,
        low="run: {profile: low}\nrechead: {width: 32, epochs: 5}\nalign: {steps: 3}\n",
        high="run: {profile: high}\nrechead: {epochs: 6, patience: 2}\n",
        both="extends: [low, high]\nrun: {profile: both}\nrechead: {patience: 4}\n",
    )
    params = overlay.merge(folder, "both", "", None)[1]
    assert (params.run.profile, params.align.steps) == ("both", 3)
    assert (params.rechead.width, params.rechead.epochs, params.rechead.patience) == (32, 6, 4)


@pytest.mark.parametrize("extends", ["none", "[both]", "[chain]", "[[low]]", "3"])
def test_a_profile_extends_others_that_are_there_and_extend_none(tmp_path: Path, extends: str) -> None:
    folder = _folder(
        tmp_path,
        low="run: {profile: low}\n",
        chain="extends: [low]\nrun: {profile: chain}\n",
        both=f"extends: {extends}\nrun: {{profile: both}}\n",
    )
    with pytest.raises(InputError, match="cannot be extended") as caught:
        overlay.merge(folder, "both", "", None)
    assert "profiles/both.yaml" in caught.value.message()
