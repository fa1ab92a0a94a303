"""same, within tolerance, different: by bytes first, then by figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rporec.release import manifest, outputs, reproduction
from rporec.release.outputs import Hashes

THEN: Hashes = {
    "ingest": {"items.parquet": "a", "source.json": "b"},
    "rechead": {"curve.csv": "c", "final/tower.safetensors": "d"},
    "package": {"metrics.json": "e", manifest.FILE_NAME: "f"},
}


def _metrics(**changes: float | None) -> dict[str, Any]:
    return {
        "rankers": {"markov": {"ndcg@10": 0.1, "n": 20}, "rporec": {"ndcg@10": 0.2, "hr@10": 0.3, "n": 20, **changes}}
    }


def _compare(stage: str = "", files: dict[str, str] | None = None, **changes: float | None) -> reproduction.Comparison:
    now = {name: dict(found) for name, found in THEN.items()}
    if files is not None:
        now[stage] = files
    return reproduction.compare(THEN, now, (_metrics(), _metrics(**changes)), 0.005)


def test_the_same_bytes_are_the_same() -> None:
    found = _compare()
    assert (found.word, found.first) == ("same", None)
    assert reproduction.told(found, "version 3").endswith("version 3: same")


@pytest.mark.parametrize(
    ("files", "first"),
    [
        ({"curve.csv": "c", "final/tower.safetensors": "x"}, "rechead, final/tower.safetensors (changed)"),
        ({"final/tower.safetensors": "d"}, "rechead, curve.csv (missing)"),
        ({"curve.csv": "c", "extra.json": "x", "final/tower.safetensors": "d"}, "rechead, extra.json (new)"),
        ({}, "rechead, curve.csv (missing)"),
    ],
)
def test_other_bytes_are_named_and_judged_by_the_figures(files: dict[str, str], first: str) -> None:
    near, far = _compare("rechead", files, **{"hr@10": 0.3049}), _compare("rechead", files, **{"hr@10": 0.3051})
    assert (near.word, near.first) == ("within tolerance", first)
    assert (far.word, far.first) == ("different", first)
    assert far.shift is not None
    assert far.shift.name == "hr@10 of rporec"
    assert f"it first differs at stage {first}" in reproduction.told(far, "x")


def test_the_first_in_the_pipelines_order_is_named_not_the_largest() -> None:
    now = {"ingest": {**THEN["ingest"], "source.json": "x"}, "rechead": {}, "package": {}}
    found = reproduction.compare(THEN, now, (_metrics(), _metrics()), 0.0)
    assert found.first == "ingest, source.json (changed)"
    assert [len(stage.differing) for stage in found.stages] == [1, 2, 1]


def test_a_figure_that_one_run_lacks_is_different_and_one_that_both_lack_is_not() -> None:
    files = {"curve.csv": "x"}
    assert _compare("rechead", files, mrr=0.1).word == "different"
    assert _compare("rechead", files, **{"hr@10": None}).word == "different"
    both = reproduction.compare(THEN, {**THEN, "rechead": files}, (_metrics(mrr=None), _metrics(mrr=None)), 0.0)
    assert both.word == "within tolerance"


def test_a_ranker_that_is_gone_is_different() -> None:
    now = {"rankers": {"rporec": _metrics()["rankers"]["rporec"]}}
    assert reproduction.compare(THEN, {**THEN, "ingest": {}}, (_metrics(), now), 1.0).word == "different"


def test_counts_are_no_figures_and_the_signature_is_no_difference() -> None:
    assert _compare("package", {"metrics.json": "e", manifest.FILE_NAME: "other key"}, n=21).word == "same"


def test_a_version_that_tells_its_package_alone_is_compared_by_that() -> None:
    found = reproduction.compare({"package": THEN["package"]}, THEN, (_metrics(), _metrics()), 0.0)
    assert [stage.name for stage in found.stages] == ["package"]


def test_hashes_are_of_every_promised_file(tmp_path: Path) -> None:
    for name in (
        "validate/docs/index.html", "validate/validate.json", "evaluate/report.html", "evaluate/curves/a.csv",
        "package/card.html", "package/a.json",
    ):  # fmt: skip
        (tmp_path / "outputs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "outputs" / name).write_text(name)
    (tmp_path / "dvc.yaml").write_text("stages: {validate: {}, evaluate: {}, package: {}, align: {}}")
    outputs.write(tmp_path)
    found = outputs.read(tmp_path, ["validate", "evaluate", "package", "align"])
    assert {stage: sorted(files) for stage, files in found.items()} == {
        "validate": ["validate.json"], "evaluate": ["curves/a.csv"], "package": ["a.json", "card.html"], "align": [],
    }  # fmt: skip
    (tmp_path / "outputs/package/a.json").write_text("other")
    assert outputs.read(tmp_path, ["package"]) != {"package": found["package"]}
