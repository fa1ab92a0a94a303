"""Which environment variables are read, found in the sources themselves: Python by its syntax, the rest by its form."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.project import ROOT

TOPS = ("rporec", "steps", "dags", "bento", "infra")
# What holds the environment: os.environ, and the names by which it is handed on.
_HOLDERS = {"environ", "environment", "env"}
_READS = {"get", "pop", "setdefault"}
_LOOPS = ast.For | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp
_SHELL = re.compile(r"\$\$?\{?([A-Z][A-Z0-9_]+)\b")


def python_files() -> list[Path]:
    return sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))


def read_by_python() -> dict[str, set[str]]:
    """Return each variable that Python reads, with the files; fails where a name cannot be told."""
    found: dict[str, set[str]] = {}
    for path in python_files():
        for name in reads(path):
            found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


def reads(path: Path) -> Iterator[str]:
    """Yield the variables that one file reads."""
    return _Reads(path).names()


def interpolated(text: str) -> set[str]:
    """Return the variables that Compose puts in from outside: ${NAME}, ${NAME:-default}, ${NAME:?}; not $$NAME."""
    return set(re.findall(r"(?<!\$)\$\{([A-Z][A-Z0-9_]*)", text))


def read_by_shell(text: str) -> set[str]:
    """Return the variables that a script reads and does not set."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name for name in _SHELL.findall(lines) if not re.search(rf"^\s*{name}=", lines, re.MULTILINE)}


class _Reads:
    """The reads of one file."""

    def __init__(self, path: Path) -> None:
        self._path, self._tree = path, _parsed(path)

    def names(self) -> Iterator[str]:
        for node in ast.walk(self._tree):
            key = self._key(node)
            if key is not None:
                found = self._values(key)
                assert found, f"{self._path}:{key.lineno}: which variable is read here? Name it by a constant"
                yield from found

    def _key(self, node: ast.AST) -> ast.expr | None:
        """Return the expression that names the variable, where a node reads one."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asks = node.func.attr in _READS and _holds(node.func.value)
            first = node.args[0] if asks or node.func.attr == "getenv" else None
            return first.value if isinstance(first, ast.Starred) else first
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _holds(node.value):
            return node.slice
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            return node.left if _holds(node.comparators[0]) else None
        return None

    def _values(self, key: ast.expr) -> list[str]:
        """Return the text, or the texts, that an expression stands for; of a pair the first is the name."""
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            return [key.value]
        if isinstance(key, ast.Tuple | ast.List):
            return [text for element in key.elts for text in self._values(element)]
        if isinstance(key, ast.Dict):
            return [text for element in key.keys if element is not None for text in self._values(element)]
        if isinstance(key, ast.Attribute) and isinstance(key.value, ast.Name):
            module = self._module(key.value.id)
            return _Reads(module)._constant(key.attr) if module else []
        if isinstance(key, ast.Name):
            return self._looped(key) or self._constant(key.id) or self._imported(key.id)
        return []

    def _looped(self, key: ast.Name) -> list[str]:
        """Return what a name runs through, in the loops and comprehensions around it."""
        found: list[str] = []
        for node in ast.walk(self._tree):
            if isinstance(node, _LOOPS) and any(inner is key for inner in ast.walk(node)):
                for loop in [node] if isinstance(node, ast.For) else node.generators:
                    if key.id in {part.id for part in ast.walk(loop.target) if isinstance(part, ast.Name)}:
                        found += self._values(_plain(loop.iter))
        return found

    def _constant(self, name: str) -> list[str]:
        for node in self._tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        pair = isinstance(node.value, ast.Tuple) and name == "CUBLAS"
                        return self._values(node.value)[: 1 if pair else None]
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        for one, value in zip(target.elts, node.value.elts, strict=True):
                            if isinstance(one, ast.Name) and one.id == name:
                                return self._values(value)
        return []

    def _imported(self, name: str) -> list[str]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
                module = ROOT / f"{(node.module or '').replace('.', '/')}.py"
                return _Reads(module)._constant(name) if module.exists() else []
        return []

    def _module(self, name: str) -> Path | None:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                path = ROOT.joinpath(*(node.module or "").split("."), f"{name}.py")
                return path if path.exists() else None
        return None


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _holds(node: ast.expr) -> bool:
    """Whether an expression is the environment of this process, or of another (`process.environ()`)."""
    if isinstance(node, ast.Call):
        node = node.func
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in _HOLDERS


def _plain(node: ast.expr) -> ast.expr:
    """Return a mapping in place of its items."""
    return node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else node
