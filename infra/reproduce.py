"""The command behind `make reproduce VERSION=n`: make a version again, from its number alone, and compare.

Its commit goes into a clean git worktree, its data come by hash from the DVC remote, parameters and lock files from the
registry; the stages run by that commit's own code. The worktree has a DVC cache of its own that holds nothing but what
was fetched by hash, and every stage is forced: no old output can be handed back. Not `dvc repro`: infra/pipeline.py.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import overlay, parent, pipeline, workspace, worktree
from infra.workspace import Workspace
from infra.worktree import git
from rporec import config
from rporec.data.sources import place as places
from rporec.errors import InputError
from rporec.files import read_json, sha256_file, write_json
from rporec.release import build, kept, layout, lookup, manifest, outputs, reproduction, signature, summary
from rporec.release.kept import Kept
from rporec.release.lookup import Version
from rporec.release.place import locate
from rporec.release.reproduction import Comparison
from steps.stage import guarded, home_folder

log = logging.getLogger("rporec")
_DATA_STAGE = "ingest"
_OWN_KEYS = ("profile", "threads", "dvc_remote")  # all that infra/ reads of an old commit's params


@dataclass(frozen=True)
class Original:
    """A version as the registry has it: the version, its package (verified), and what is kept of its run."""

    version: Version
    package: Path
    kept: Kept


def main() -> None:
    """Act on VERSION, PROFILE, FROM and DATA; exit 1 when the outcome is `different`, or with one message."""
    guarded(lambda: sys.exit(drive(Path.cwd())))


def drive(folder: Path) -> int:
    """Reproduce what the environment names and print the outcome; return the exit code."""
    checkout = worktree.find_checkout(folder)
    number, profile, first, data = (os.environ.get(name, "").strip() for name in ("VERSION", "PROFILE", "FROM", "DATA"))
    today = config.load(checkout / "params.yaml")
    where = locate(checkout, os.environ)
    version = kept.version(where, lookup.model_name(profile or today.run.profile), number)
    root = checkout / "runs" / "reproduce" / f"{version.model.removeprefix('rporec-')}-v{version.number}"
    with workspace.locked(checkout, root), tempfile.TemporaryDirectory() as scratch:
        package = lookup.package_folder(where.uri, version, where.cache)
        original = Original(version, package, kept.fetch(where, version, Path(scratch)))
        check(original)
        space = prepare(checkout, root, original, places.resolve(data, folder))
        stages = again(space, original, first)
        found = compare(root, original, today.promote.reproduce_tolerance)
    name = f"version {version.number} of {version.model}"
    write_json(checkout / "reports" / f"reproduce-{root.name}.json", reproduction.as_json(found, stages))
    sys.stdout.write(f"\n{reproduction.told(found, name)}\n")
    return int(found.word == "different")


def check(original: Original) -> None:
    """Refuse a version that cannot be made again, or whose records contradict each other.

    Raises:
        InputError: its files are not those that were registered, or its code was never committed.
    """
    version, dvc_lock = original.version, original.kept.file("dvc.lock")
    found = manifest.verify(original.package).package_hash
    if found != version.package_hash:
        raise InputError(
            "the version does not hold the package that it was made for",
            file=original.package, field="package_hash", value=found, rule=f"must be {version.package_hash}",
            cure="restore the registry's artefacts from a backup",
        )  # fmt: skip
    commit = version.tags.get("git_commit", "")
    if not commit or commit.endswith("-dirty"):
        raise InputError(
            "the version was made from code that was not committed",
            field="git_commit", value=commit, rule="a commit without -dirty",
            cure="only versions of committed code can be made again: commit, then make run",
        )  # fmt: skip
    if dvc_lock is None or sha256_file(dvc_lock) != version.tags.get("dvc_lock_hash"):
        raise InputError(
            "the dvc.lock that the registry keeps is not the version's",
            file=original.kept.folder / "dvc.lock", rule=f"SHA-256 {version.tags.get('dvc_lock_hash')}",
            cure="restore the registry's artefacts from a backup",
        )  # fmt: skip


def prepare(checkout: Path, root: Path, original: Original, data: str | None) -> Workspace:
    """Make the clean worktree of the version's commit with its parameters, lock files and an empty DVC cache.

    Raises:
        InputError: the commit is not in this repository.
    """
    commit = original.version.tags["git_commit"]
    try:
        git(checkout, "cat-file", "-e", f"{commit}^{{commit}}")
    except InputError:
        raise InputError(
            "the version's commit is not in this repository", file=checkout, field="git_commit", value=commit,
            cure="git fetch from where it was made (nights: nights.git_remote), and run this again",
        ) from None  # fmt: skip
    worktree.fresh_worktree(checkout, root, commit)
    for name in ("params.yaml", *kept.LOCKS):
        path = original.kept.file(name)
        if path is not None:  # an older version keeps fewer; then those of its commit count
            shutil.copyfile(path, root / name)
    if (root / "requirements.txt").read_bytes() != (checkout / "requirements.txt").read_bytes():
        log.warning("reproduce: requirements.txt of %s is another than here: bytes may differ", commit[:12])
    own = overlay.read(root / "params.yaml")["run"]
    run = {key: own[key] for key in _OWN_KEYS if key in own}
    today = config.read_yaml((checkout / "params.yaml").read_text(encoding="utf-8"))
    params = config.parse(overlay.combine(today, {"run": run}), str(root / "params.yaml"))
    space = Workspace(checkout, root, home_folder(checkout), data, params, {}, {})
    workspace.write_dvc_config(space)
    parent.bring(space)
    pipeline.own_cache(root, space.home / "dvc" / "cache")
    return space


def again(space: Workspace, original: Original, first: str) -> list[str]:
    """Fetch what stands before the stage `first` by hash, run it and all later stages; return their names.

    Args:
        space: the prepared worktree.
        original: the version.
        first: a stage; empty = the one after ingest, since the data come by hash.

    Raises:
        InputError: an unknown stage, data that neither remote nor cache has, other data, or a stage that stopped.
    """
    names = pipeline.stage_names(space.root)
    start = names.index(_DATA_STAGE) + 1 if not first else names.index(first) if first in names else -1
    if start < 0:
        raise InputError(
            "there is no such stage", field="FROM", value=first, rule=f"one of {', '.join(names)}",
            cure="name the first stage that is to run again, or leave FROM out",
        )  # fmt: skip
    fetched, running = names[:start], names[start:]
    env = workspace.environment(space)
    if not os.environ.get(signature.SIGNING_KEY):
        env[signature.SIGNING_KEY] = secrets.token_hex(32)  # the copy goes nowhere, and signatures are not compared
    if fetched:
        log.info("reproduce: %s by hash", ", ".join(fetched))
        pipeline.fetch(space.root, fetched)
        _check_data(space.root, original)
    for name in running:
        pipeline.reproduce(space.root, env, name, space.data, force=True)
    return running


def _check_data(root: Path, original: Original) -> None:
    tables = [root / "outputs" / _DATA_STAGE / f"{name}.parquet" for name in ("interactions", "items")]
    found, wanted = build.data_hash(*tables), original.version.tags["data_hash"]
    if found != wanted:
        raise InputError(
            "the data are not the version's",
            file=tables[0].parent, field="data_hash", value=found, rule=f"must be {wanted}",
            cure="the DVC remote or the registry was changed: restore it from a backup",
        )  # fmt: skip


def compare(root: Path, original: Original, tolerance: float) -> Comparison:
    """Compare what was made in `root` with the version."""
    package = {entry.path: entry.sha256 for entry in manifest.read(original.package).files}
    then: dict[str, Any] = {**(original.kept.hashes or {}), summary.PACKAGE.name: package}
    now = outputs.read(root, pipeline.stage_names(root))
    metrics = (read_json(original.package / layout.METRICS), read_json(root / summary.PACKAGE / layout.METRICS))
    return reproduction.compare(then, now, metrics, tolerance)


if __name__ == "__main__":
    main()
