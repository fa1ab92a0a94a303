"""The bench for a GPU, really run on the CPU at toy size: from a carried folder, without a repository or a network."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.gpu.bench import MODEL, SIZES, SMALL_SIZES, main
from rporec.backbone.embedded import Shape, build_model
from rporec.errors import InputError
from tests import project
from tests.backbone.models import qwen3

# In place of a machine without a network; leaves what was imported, by file.
SITE = """
import atexit, json, socket, sys

def refuse(self, address):
    raise OSError(f"no network here, asked for {address}")

def note():
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    with open("imported.json", "w") as stream:
        json.dump([file for file in files if file], stream)

socket.socket.connect = refuse
if "infra.gpu.bench" in sys.orig_argv:
    atexit.register(note)
"""
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn", "ruamel": "ruamel-yaml"}  # where names differ


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as docs/gpu.md makes it: tracked files, no repository."""
    folder = project.clone(tmp_path_factory.mktemp("carried"))
    shutil.rmtree(folder / ".git")
    (folder / "sitecustomize.py").write_text(SITE)
    return folder


@pytest.fixture(scope="module")
def told(carried: Path) -> list[dict[str, Any]]:
    words = ["--small", "--device", "cpu", "--rounds", "1", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "infra.gpu.bench", *words],
        cwd=carried, env=project.environment({"PYTHONPATH": str(carried)}), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_runs_from_a_carried_folder_without_a_network(told: list[dict[str, Any]]) -> None:
    ours, stock, ratio = told
    assert [line["bench"] for line in (ours, stock, ratio)] == ["gpu, rporec", "gpu, stock", "gpu, ratio"]
    for line in (ours, stock):
        assert (line["device"], line["dtype"], line["rounds"]) == ("cpu", "bfloat16", 1)
        assert {name: line[name] for name in SMALL_SIZES.told()} == SMALL_SIZES.told()
        parts = sum(line[f"{part}_s"] for part in ("generate", "score", "reference", "update"))
        assert parts == pytest.approx(line["step_s"], abs=0.01)
        rows = SMALL_SIZES.prompts * SMALL_SIZES.samples
        written = line["generated_tokens_per_s"] * line["generate_s"]
        assert 1 <= written <= 1.03 * rows * SMALL_SIZES.completion_tokens
        trained = line["trained_tokens_per_s"] * line["update_s"]
        assert trained == pytest.approx(rows * SMALL_SIZES.prompt_tokens + written, rel=0.03)
        assert line["peak_mb"] > 100
    assert ratio["step_ratio"] == pytest.approx(stock["step_s"] / ours["step_s"], rel=0.05)
    assert ratio["generate_ratio"] == pytest.approx(
        ours["generated_tokens_per_s"] / stock["generated_tokens_per_s"], rel=0.05
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(InputError, match="there is no CUDA device"):
        main()


def test_the_backbone_has_a_hundred_million_parameters_without_its_vocabulary() -> None:
    sizes = {name: int(value) for name, value in re.findall(r"backbone\.(\w+)=(\d+)", MODEL)}
    with torch.device("meta"):
        made = build_model(
            qwen3().tokenizer, Shape(sizes["width"], sizes["layers"], sizes["heads"], SIZES.context), seed=0
        )
    inner = sum(weight.numel() for name, weight in made.named_parameters() if "embed" not in name)
    assert inner > 100_000_000
    assert (SIZES.prompt_tokens, SIZES.completion_tokens, SIZES.samples) == (1024, 256, 8)


def test_the_packages_to_carry_are_those_that_the_bench_imports(carried: Path, told: list[dict[str, Any]]) -> None:
    """The command of docs/gpu.md names each package that the modules of the bench import, and each is pinned."""
    assert told
    (named,) = re.findall(r'grep -iE "\^\((.*)\)=="', (project.ROOT / "docs/gpu.md").read_text(encoding="utf-8"))
    pinned = {line.split("==")[0].lower() for line in (project.ROOT / "requirements.txt").read_text().splitlines()}
    assert set(named.split("|")) <= pinned
    files = [Path(name) for name in json.loads((carried / "imported.json").read_text())]
    ours = [file for file in files if file.is_relative_to(carried) and file.suffix == ".py"]
    assert len(ours) > 50
    nodes = [node for file in ours for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    tops = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"infra", "rporec", "steps"}
    imported = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in tops}
    lazy = {
        "boto3",
        "botocore",
        "httpx",
        "sqlalchemy",
        "sentence-transformers",
    }  # for what it does not do
    assert imported - lazy <= set(named.split("|"))
