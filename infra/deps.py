"""Which library modules a stage runs: the answer behind the DVC deps, read from the imports.

`python -m infra.deps` prints them per stage; `--write` puts them into dvc.yaml. Not run by the pipeline itself.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

# Any new key or column would re-run everything (design, section 3).
EXEMPT = ("rporec/config.py", "rporec/tables.py", "steps/stage.py")
PACKAGES = ("rporec", "steps")


def stage_modules(root: Path, stage: str) -> list[str]:
    """Return the files, relative to `root` and sorted, that `python -m steps.<stage>` imports, directly or not.

    Lazy imports within functions count; imports for type checking alone do not. `EXEMPT` files and what only they
    import are left out, as are `__init__.py` files that hold nothing but a docstring.
    """
    found: set[str] = set()
    queue = [f"steps/{stage}.py"]
    while queue:
        name = queue.pop()
        if name in found or name in EXEMPT or not (root / name).is_file():
            continue
        found.add(name)
        queue += imported_files(root, root / name)
    return sorted(found)


def imported_files(root: Path, file: Path) -> list[str]:
    """Return the project's own files that one file imports, packages' `__init__.py` with content included."""
    files: list[str] = []
    for module in _imports(file, root):
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            base = root.joinpath(*parts[:depth])
            if base.with_suffix(".py").is_file():
                files.append(base.with_suffix(".py").relative_to(root).as_posix())
            elif _has_code(base / "__init__.py"):
                files.append((base / "__init__.py").relative_to(root).as_posix())
    return sorted(set(files))


def _imports(file: Path, root: Path) -> Iterator[str]:
    """Yield dotted names that may be modules: `from a.b import c` gives both a.b and a.b.c."""
    package = file.relative_to(root).with_suffix("").parts[:-1]
    for node in _run_time_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _run_time_nodes(node)


def _has_code(init: Path) -> bool:
    if not init.is_file():
        return False
    body = ast.parse(init.read_text(encoding="utf-8")).body
    return any(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in body)


def dvc_deps(root: Path, stage: str) -> list[str]:
    """Return the code deps that dvc.yaml lists now for a stage."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return sorted(d for d in stages[stage]["deps"] if d.split("/")[0] in PACKAGES)


def _write(root: Path) -> None:
    """Replace the code deps in dvc.yaml in place; the other lines and comments stay."""
    lines: list[str] = []
    stage, in_deps = "", False
    for line in (root / "dvc.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("  ") and not line.startswith("   ") and line.endswith(":"):
            stage = line.strip()[:-1]
        if line.startswith("    ") and not line.startswith("     "):
            in_deps = line.strip() == "deps:"
            lines.append(line)
            if in_deps:
                lines += [f"      - {name}" for name in stage_modules(root, stage)]
            continue
        if in_deps and line.strip().removeprefix("- ").split("/")[0] in PACKAGES:
            continue
        lines.append(line)
    (root / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Print or write the code deps of every stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put them into dvc.yaml")
    arguments = parser.parse_args()
    root = Path.cwd()
    if arguments.write:
        _write(root)
    for stage in yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]:
        sys.stdout.write(f"{stage}: {' '.join(stage_modules(root, stage))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
