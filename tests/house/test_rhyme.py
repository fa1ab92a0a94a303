"""The rhyme: one word per stage in dvc.yaml, steps/, params.yaml, the nightly DAG and tests/steps/."""

from __future__ import annotations

import ast
import json
import re

import pytest
import yaml

from infra import deps, workspace, worktree
from rporec import config
from tests.project import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = list(PIPELINE["stages"])
ACTS = ["gate", "promote"]
OTHER_SECTIONS = {"run", "gate", "promote", "serve", "nights", "monitor"}
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def test_stages_are_those_of_the_design() -> None:
    assert STAGES == [
        "ingest", "validate", "sequence", "backbone", "cot", "rechead", "align", "evaluate", "package",
    ]  # fmt: skip


def test_stage_is_file_is_test_file() -> None:
    files = {path.stem for path in (ROOT / "steps").glob("*.py")} - {"__init__", "stage"}
    assert files == {*STAGES, *ACTS}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "steps").glob("test_*.py")} - {"stage"}
    assert tests == {*STAGES, *ACTS}


def test_sections_are_the_stages_and_the_six_others() -> None:
    assert set(PARAMS) == {*STAGES, *OTHER_SECTIONS}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_runs_its_file_and_owns_its_folder(stage: str) -> None:
    entry = PIPELINE["stages"][stage]
    assert entry["cmd"] == f"python -m steps.{stage}"
    assert entry["outs"] == [{f"outputs/{stage}": {"persist": True}}]
    assert stage in entry["params"]
    tree = ast.parse((ROOT / "steps" / f"{stage}.py").read_text(encoding="utf-8"))
    assert stage in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert f'run_stage("{stage}", {stage}' in (ROOT / "steps" / f"{stage}.py").read_text(encoding="utf-8")


def test_each_stage_that_loads_pretrained_weights_hangs_on_its_own_lock_file_alone() -> None:
    """And those of a clean clone are right for its parameters, so that plain `dvc repro` works there."""
    hangs = {name: stage for stage in STAGES for name in PIPELINE["stages"][stage]["deps"] if name in workspace.WEIGHTS}
    assert hangs == {"backbone.lock.json": "backbone", "rechead.lock.json": "rechead"}
    for name, stage in hangs.items():
        assert [s for s in STAGES if name in PIPELINE["stages"][s]["deps"]] == [stage]
        assert json.loads((ROOT / name).read_text(encoding="utf-8")) == {"kind": "embedded"}
    assert (PARAMS["backbone"]["name"], PARAMS["rechead"]["encoder"]) == (None, "embedded")
    assert set(workspace.WEIGHTS) <= worktree.OWN


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_the_modules_that_the_stage_imports(stage: str) -> None:
    assert deps.dvc_deps(ROOT, stage) == deps.stage_modules(ROOT, stage), "run python -m infra.deps --write"


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_that_a_stage_opens_are_its_deps(stage: str) -> None:
    """A path in a stage's own file, like "sequence/train.parquet", lies in or holds one of the deps."""
    text = (ROOT / "steps" / f"{stage}.py").read_text(encoding="utf-8")
    names = "|".join(STAGES)
    opened = re.findall(rf'["\'](?:outputs/)?((?:{names})/[\w./-]+)["\']', text)
    listed = [dep.removeprefix("outputs/") for dep in PIPELINE["stages"][stage]["deps"] if dep.startswith("outputs/")]
    for path in opened:
        if not path.startswith(f"{stage}/"):
            assert any(path == dep or path.startswith(f"{dep}/") for dep in listed), f"{stage} opens {path}"


@pytest.mark.parametrize("stage", STAGES)
def test_sections_that_a_stage_reads_are_its_params(stage: str) -> None:
    """`params.<section>` in the stage's file or in the library functions that it hands all parameters to."""
    read: set[str] = set()
    for name in deps.stage_modules(ROOT, stage):
        text = (ROOT / name).read_text(encoding="utf-8")
        if name == f"steps/{stage}.py" or "params: Params" in text or "params: config.Params" in text:
            read |= set(re.findall(r"\bparams\.(\w+)\.", text)) & set(PARAMS)
            read |= set(re.findall(r"\bparams\.(\w+)\b", text)) & set(PARAMS)
    listed = {str(key).split(".")[0] for key in PIPELINE["stages"][stage]["params"]}
    assert read <= listed, f"{stage} reads {read - listed}"


def test_metrics_and_plots_lie_in_outputs_of_a_stage() -> None:
    plots = {name: plot["y"] for one in PIPELINE["plots"] for name, plot in one.items()}
    paths = [
        *PIPELINE["metrics"],
        *(file for name, y in plots.items() for file in (y if isinstance(y, dict) else [name])),
    ]
    assert all(path.split("/")[:1] == ["outputs"] and path.split("/")[1] in STAGES for path in paths)


def _leaves(value: object, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {path}
    return {leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}" if path else key)}


def _schema_leaves(model: type[config.Section], path: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        here = f"{path}.{field.alias or name}" if path else (field.alias or name)
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, config.Section)
        found |= _schema_leaves(kind, here) if nested else {here}
    return found


def test_every_leaf_is_known_to_the_schema_and_back() -> None:
    assert _leaves(PARAMS) == _schema_leaves(config.Params)
    config.load(ROOT / "params.yaml")


def test_every_leaf_is_read_somewhere() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for top in ("rporec", "steps", "bento", "infra", "dags")
        for path in (ROOT / top).rglob("*.py")
        if not path.name.startswith("config")
    )
    waiting = {"monitor.max_age_days"}  # read when nights are compared and watched
    unread = [
        leaf for leaf in sorted(_leaves(PARAMS) - waiting) if not re.search(rf"[.\"']{leaf.rpartition('.')[2]}\b", code)
    ]
    assert unread == []


def test_every_leaf_has_a_description_and_no_default() -> None:
    def walk(model: type[config.Section]) -> None:
        for name, field in model.model_fields.items():
            assert field.is_required(), f"{model.__name__}.{name} has a second default"
            if isinstance(field.annotation, type) and issubclass(field.annotation, config.Section):
                walk(field.annotation)

    walk(config.Params)
