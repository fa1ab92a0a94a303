"""The bench for a GPU, really run on the CPU at toy size: from a carried folder, without a repository or a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from infra.gpu.bench import MODEL, SIZES, SMALL_SIZES
from rporec.backbone.embedded import Shape, build_model
from tests import project
from tests.backbone.models import qwen3

NO_NETWORK = """
import socket

def refuse(self, address):
    raise OSError(f"no network here, asked for {address}")

socket.socket.connect = refuse
"""


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as docs/gpu.md makes it: tracked files, no repository."""
    folder = project.clone(tmp_path_factory.mktemp("carried"))
    shutil.rmtree(folder / ".git")
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    return folder


def bench(folder: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.gpu.bench", "--threads", "1", *words]
    env: Mapping[str, str] = {**project.environment(), "PYTHONPATH": str(folder), **extra}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_it_runs_from_a_carried_folder_without_a_network(carried: Path) -> None:
    done = bench(carried, "--small", "--device", "cpu", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    ours, stock, ratio = (json.loads(line) for line in done.stdout.splitlines())
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
def test_without_a_gpu_it_says_so(carried: Path) -> None:
    done = bench(carried, "--small")
    assert done.returncode == 1
    assert "there is no CUDA device" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_backbone_has_a_hundred_million_parameters_without_its_vocabulary() -> None:
    sizes = {name: int(value) for name, value in re.findall(r"backbone\.(\w+)=(\d+)", MODEL)}
    with torch.device("meta"):
        made = build_model(
            qwen3().tokenizer, Shape(sizes["width"], sizes["layers"], sizes["heads"], SIZES.context), seed=0
        )
    inner = sum(weight.numel() for name, weight in made.named_parameters() if "embed" not in name)
    assert inner > 100_000_000
    assert (SIZES.prompt_tokens, SIZES.completion_tokens, SIZES.samples) == (1024, 256, 8)


def test_the_packages_to_carry_are_those_that_the_bench_imports() -> None:
    """The command of docs/gpu.md names each package that the modules of the bench import, and each is pinned."""
    (named,) = re.findall(r'grep -iE "\^\((.*)\)=="', (project.ROOT / "docs/gpu.md").read_text(encoding="utf-8"))
    carried = set(named.split("|"))
    pinned = {line.split("==")[0].lower() for line in (project.ROOT / "requirements.txt").read_text().splitlines()}
    assert carried <= pinned
    asked = (
        "import sys, ast, json, infra.gpu.bench as _\n"
        "from importlib.metadata import packages_distributions as known\n"
        "ours = [m for n, m in sys.modules.items() if n.split('.')[0] in ('infra', 'rporec', 'steps')]\n"
        "files = [m.__file__ for m in ours]\n"
        "files = [f for f in files if f and f.endswith('.py')]\n"
        "trees = [ast.parse(open(f, encoding='utf-8').read()) for f in files]\n"
        "tops = {a.name for t in trees for n in ast.walk(t) if isinstance(n, ast.Import) for a in n.names}\n"
        "tops |= {n.module for t in trees for n in ast.walk(t) if isinstance(n, ast.ImportFrom)}\n"
        "print(json.dumps(sorted({d for t in tops for d in known().get(t.split('.')[0], [])})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=project.ROOT, env=project.environment(), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    imported = {re.sub(r"[._]", "-", name).lower() for name in json.loads(done.stdout)}
    assert imported <= carried
