"""The tree of the design, the size of things, and what may not be committed."""

from __future__ import annotations

import ast
import re

from tests.project import ROOT, git

TOP = {
    "bento", "dags", "docs", "infra", "profiles", "rporec", "steps", "tests", ".ci", ".dvc",
}  # fmt: skip
TRACKED = [
    name
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    if name and (ROOT / name).is_file()
]
CODE = [name for name in TRACKED if name.endswith(".py")]
OWN_CODE = [name for name in CODE if not name.startswith("tests/")]


def test_top_level_is_the_designs() -> None:
    assert {name.split("/")[0] for name in TRACKED if "/" in name} == TOP
    for name in ("dvc.yaml", "params.yaml", "README.md", "Makefile", "requirements.txt", "CHANGELOG.md"):
        assert (ROOT / name).is_file(), name


def test_requirements_are_pinned_versions_without_addresses_or_local_builds() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==[0-9A-Za-z.!]+", line) for line in lines)
    wanted = {
        re.split(r"[\[=<>]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    assert wanted <= {line.split("==")[0].split("[")[0].lower() for line in lines}


def test_no_file_is_large_or_holds_an_address_of_a_registry() -> None:
    for name in TRACKED:
        path = ROOT / name
        assert path.stat().st_size < 1_000_000, name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".sh", ".html", ""}:
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not re.search(r"index-" + r"url|https?://\S+/(simple|packages)/", text), name


def test_files_and_functions_stay_small() -> None:
    for name in OWN_CODE:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text.count("\n") <= 300, f"{name}: a file is about one thing"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{name}: {node.name}"
