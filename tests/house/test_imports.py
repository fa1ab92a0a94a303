"""Imports run one way: dags -> (dvc) -> steps -> rporec <- bento; within rporec over six floors, without a circle."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

from infra import deps
from tests.project import ROOT

# A floor may import its own and lower floors; the longest name that fits a module tells its floor.
FLOORS = (
    {
        "errors", "files", "home", "journal", "progress", "config", "config_align", "config_backbone", "config_base",
        "config_data", "config_release", "days", "tables", "catalogue", "checkpoint", "reach", "splitmix", "weights",
        "parent",
    },
    {
        "encode", "transitions", "reasoning", "data", "release.manifest", "release.content", "release.signature",
        "release.layout",
    },
    {"backbone", "rechead", "baselines", "align", "evaluation"},
    {"recommender"},
    {"release", "evaluation.candidate", "evaluation.rescore", "evaluation.service",
     "evaluation.contest", "evaluation.trial"},
    {"serving"},
)  # fmt: skip
MAY_IMPORT = {
    "rporec": {"rporec"},
    "steps": {"rporec", "steps"},
    "bento": {"rporec", "bento"},
    "dags": set(),
    "infra": {"rporec", "steps", "infra"},
}
OURS = {"rporec", "steps", "bento", "dags", "infra", "tests"}
FILES = sorted(path.relative_to(ROOT).as_posix() for top in MAY_IMPORT for path in (ROOT / top).rglob("*.py"))


def _imported(name: str) -> set[str]:
    """Every module of ours that a file names, for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            found |= {_module(node.module or "", alias.name) for alias in node.names}
    return {module for module in found if module.split(".")[0] in OURS}


def _module(package: str, name: str) -> str:
    inner = ROOT.joinpath(*package.split("."), name)
    return f"{package}.{name}" if inner.with_suffix(".py").is_file() or inner.is_dir() else package


def test_imports_run_one_way() -> None:
    for name in FILES:
        used = {module.split(".")[0] for module in _imported(name)} & OURS
        assert used <= MAY_IMPORT[name.split("/")[0]], f"{name} imports {used}"


def _floor(module: str) -> int:
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        for number, names in enumerate(FLOORS):
            if ".".join(parts[:length]) in names:
                return number
    raise AssertionError(f"{module} stands on no floor: add it to FLOORS")


def test_no_floor_imports_a_higher_one() -> None:
    for name in FILES:
        if name.startswith("rporec/") and name != "rporec/__init__.py":
            own = _floor(name.removesuffix(".py").replace("/", "."))
            for module in _imported(name):
                assert _floor(module) <= own, f"{name} imports {module}"


def test_the_schema_has_one_door() -> None:
    """DVC overlooks `rporec.config` alone: another way in would make every new key run stages again."""
    for name in FILES:
        inner = {module for module in _imported(name) if module.startswith("rporec.config_")}
        assert not inner or name.startswith("rporec/config"), f"{name} imports {inner}: import from rporec.config"


def test_there_is_no_circle() -> None:
    graph = {
        name: [other for other in deps.imported_files(ROOT, ROOT / name) if not other.endswith("__init__.py")]
        for name in FILES
        if name.startswith("rporec/")
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)


def test_the_library_reads_no_argv_or_environment_and_knows_no_pickle() -> None:
    for name in FILES:
        if name.startswith("rporec/"):
            text = (ROOT / name).read_text(encoding="utf-8")
            text = re.sub(r"os\.environ\[[^]]+\] = ", "", text)  # a library's switch
            for banned in ("sys.argv", "os.environ", "os.getenv", "argparse", "import pickle", "torch.save(", "joblib"):
                assert banned not in text, f"{name} holds {banned}"


def test_nothing_to_do_imports_nothing_heavy() -> None:
    graph: dict[str, list[str]] = {}
    queue = ["infra/run.py"]
    while queue:
        name = queue.pop()
        if name not in graph:
            graph[name] = [module for module in _top_level(ROOT / name) if (ROOT / module).is_file()]
            queue += graph[name]
    heavy = {"torch", "mlflow", "great_expectations", "transformers", "bentoml"}
    for name in graph:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        modules = {m for node in tree.body for m in _names(node)}
        assert not {module.split(".")[0] for module in modules} & heavy, name


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _top_level(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [module for node in tree.body for module in _names(node) if module.split(".")[0] in OURS]
    return [f"{module.replace('.', '/')}.py" for module in modules]
