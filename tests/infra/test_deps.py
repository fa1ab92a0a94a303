from __future__ import annotations

from pathlib import Path

from infra import deps


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_modules_are_followed_through_packages_lazy_imports_and_not_types(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "steps/__init__.py": '"""Doc."""\n',
            "steps/stage.py": "from rporec import only_the_frame\n",
            "steps/one.py": (
                "import typing\nfrom rporec import a\nfrom rporec.pack import b\nfrom steps.stage import run_stage\n"
                "from rporec.config import Params\nif typing.TYPE_CHECKING:\n    from rporec import types_only\n"
            ),
            "rporec/__init__.py": '"""Doc."""\n',
            "rporec/a.py": "def f():\n    import rporec.lazy\n",
            "rporec/lazy.py": "",
            "rporec/config.py": "import rporec.only_the_schema\n",
            "rporec/only_the_schema.py": "",
            "rporec/only_the_frame.py": "",
            "rporec/types_only.py": "",
            "rporec/pack/__init__.py": "from rporec.pack.c import x\n",
            "rporec/pack/b.py": "",
            "rporec/pack/c.py": "x = 1\n",
        },
    )
    assert deps.stage_modules(tmp_path, "one") == [
        "rporec/a.py",
        "rporec/lazy.py",
        "rporec/pack/__init__.py",
        "rporec/pack/b.py",
        "rporec/pack/c.py",
        "steps/one.py",
    ]
