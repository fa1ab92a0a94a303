"""Build the Bento of the champion: `python -m bento.build`. Outside the promise of equal bytes; nothing depends on it.

Code and package are laid out in a folder of their own first: BentoML walks its whole build context, and a checkout
holds a virtual environment and the outputs of runs that may have failed their gates.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bento.settings import write_deployment
from rporec import config
from rporec.errors import InputError
from rporec.files import sha256_path
from rporec.release import lookup, registry, signature
from rporec.release.lookup import Version
from rporec.release.place import locate

NAME = "rporec"
CODE = ("bento", "rporec")


def build(root: Path) -> str:
    """Build the champion's Bento into BENTOML_HOME (default: RPOREC_HOME/bentoml); return its tag.

    Raises:
        InputError: there is no champion, its package is not whole, or BentoML refused.
    """
    params = config.load(root / "params.yaml")
    place = locate(root, os.environ, signature.trust_of(params.package.signature, os.environ))
    model = lookup.model_name(params.run.profile)
    found = registry.champion_package(place, model)
    if found is None:
        raise InputError("there is no champion to build a Bento of", field="model", value=model, cure="make run first")
    version, package = found
    store = Path(os.environ.get("BENTOML_HOME") or place.home / "bentoml")
    name = bento_version(version, code_hash(root))
    if not (store / "bentos" / NAME / name).is_dir():
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            lay_out(root, package, Path(folder))
            write_deployment(params, Path(folder))
            run_build(Path(folder), name, store)
    return f"{NAME}:{name}"


def bento_version(version: Version, code: str) -> str:
    """Return the Bento's version: profile, registry version, package and code, so that a tag names exact bytes."""
    profile = version.model.removeprefix("rporec-")
    return f"{profile}-v{version.number}-{version.package_hash[:12]}-{code[:8]}"


def code_hash(root: Path) -> str:
    """Return the hash of what a Bento holds beside the package: the code, and the parameters that it is told."""
    parts = [sha256_path(root / name) for name in (*CODE, "params.yaml")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def lay_out(root: Path, package: Path, folder: Path) -> None:
    """Put code and package where bentofile.yaml looks for them."""
    for name in CODE:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(package, folder / "outputs" / "package", copy_function=shutil.copyfile)


def run_build(folder: Path, version: str, store: Path) -> None:
    """Call `bentoml build` on a laid out folder.

    Raises:
        InputError: BentoML refused.
    """
    command = ["bentoml", "build", "-f", "bento/bentofile.yaml", "--version", version, "."]
    env = {**os.environ, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(
            f"bentoml build failed: {(done.stderr or done.stdout).strip()[-500:]}",
            file=store, cure="mend what BentoML names and run the command again",
        )  # fmt: skip


def main() -> None:
    """Build in the current folder and print the tag; exit 1 with one message where that is refused."""
    try:
        sys.stdout.write(f"bento: {build(Path.cwd())}\n")
    except InputError as error:
        sys.stderr.write(f"{error.message()}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
