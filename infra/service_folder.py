"""Lays out what the image of the service serves: `PROFILE=nightly python -m infra.service_folder FOLDER`.

Code and the parameters of one profile; the model comes from the registry. Not the Bento, which holds one model and
never changes: `python -m bento.build`.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from infra import overlay
from rporec.errors import InputError
from rporec.files import write_text
from steps.stage import guarded

_CODE = ("bento", "rporec")


def lay_out(checkout: Path, profile: str, folder: Path) -> None:
    """Put code and merged params.yaml into a folder that does not exist yet.

    Args:
        checkout: where code, params.yaml and profiles/ lie.
        profile: whose champion is served.
        folder: the new folder.

    Raises:
        InputError: there is no such profile, or the folder exists.
    """
    merged, _ = overlay.merge(checkout, profile, "", None)
    if folder.exists():
        raise InputError("the folder exists", file=folder, rule="a new folder", cure="name another, or remove it")
    for name in _CODE:
        shutil.copytree(checkout / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_text(folder / "params.yaml", overlay.apply(checkout / "params.yaml", merged))


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="new folder")
    folder = parser.parse_args().folder
    guarded(lambda: lay_out(Path.cwd(), os.environ.get("PROFILE", "").strip() or "demo", folder))


if __name__ == "__main__":
    main()
