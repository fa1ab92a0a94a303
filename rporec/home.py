"""Where everything lies that outlives a run: RPOREC_HOME, told by one rule to stages, commands and the service alike.

The environment comes in as a value; what lies below the folder is known to those who put it there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from rporec.errors import InputError

NAME = "RPOREC_HOME"


def home_folder(root: Path, environment: Mapping[str, str]) -> Path:
    """Return RPOREC_HOME; where it is not set, var/ of the main checkout, which all worktrees share.

    Args:
        root: a checkout or a worktree; outside a git repository its own var/ is meant.
        environment: the process's environment variables.

    Raises:
        InputError: it is set to nothing, which would mean the current folder, or to a file.
    """
    given = environment.get(NAME)
    if given is None:
        return _main_checkout(root) / "var"
    if not given.strip():
        raise InputError(
            "RPOREC_HOME is set but empty",
            field=NAME, value=given, rule="a folder, or not set at all (var/ of the checkout)",
            cure="name a folder, or unset it",
        )  # fmt: skip
    home = Path(given).expanduser().resolve()
    if home.exists() and not home.is_dir():
        raise InputError("RPOREC_HOME is no folder", field=NAME, value=given, rule="a folder", cure="name a folder")
    return home


def _main_checkout(root: Path) -> Path:
    command = ["git", "-C", str(root), "rev-parse", "--path-format=absolute", "--git-common-dir"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return (Path(found.stdout.strip()).parent if found.returncode == 0 else root).resolve()
