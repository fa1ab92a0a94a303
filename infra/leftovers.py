"""What nights leave behind and who still needs it: night folders, objects by hash, MLflow runs. Removes on demand only.

The rule of what may go is infra/housekeeping.py.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.worktree import git
from rporec.errors import InputError
from rporec.release import kept, lookup
from rporec.release.lookup import Version
from rporec.release.place import Place, client

log = logging.getLogger("rporec")
_REMOVED = "rporec.artifacts"  # tag of a run whose artefacts are gone
_MODELS = lookup.model_name("")
_LOCK = "dvc.lock"
_DIR = ".dir"  # how DVC ends the hash of a folder


@dataclass(frozen=True)
class Night:
    """A night.

    Args:
        date: logical date.
        root: its folder, which may be gone.
        commit: the commit that finished it, "" where it was not finished.
        made: Unix time at which something last happened to it.
    """

    date: str
    root: Path
    commit: str
    made: float


@dataclass(frozen=True)
class NightRun:
    """An MLflow run of a night: its id, the address of its artefacts."""

    run_id: str
    artifact_uri: str


def old_nights(checkout: Path, before: float) -> list[Night]:
    """Return the nights that were made before a Unix time, by date."""
    listed = git(checkout, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/heads/nights/").split()
    folders = [path.parent.name for path in (checkout / "runs" / "nights").glob("*/params.yaml")]
    nights = [_night(checkout, date, with_branch=date in listed) for date in sorted({*listed, *folders})]
    return [night for night in nights if 0 < night.made < before]


def _night(checkout: Path, date: str, *, with_branch: bool) -> Night:
    root, commit, made = checkout / "runs" / "nights" / date, "", 0.0
    if with_branch:
        digest, when, subject = git(checkout, "log", "-1", "--format=%H%n%ct%n%s", f"nights/{date}").splitlines()
        if subject == f"night {date}":  # else its branch stands on a commit of the users, whose age says nothing
            commit, made = digest, float(when)
    files = [root / name for name in ("params.yaml", _LOCK) if (root / name).is_file()]
    return Night(date, root, commit, max([made, *(file.stat().st_mtime for file in files)]))


def versions(place: Place) -> list[Version]:
    """Return every registered version of every profile."""
    file = lookup.sqlite_file(place.uri)
    if file is not None and not file.exists():
        return []
    found: list[Version] = []
    token: str | None = None
    while True:
        page = client(place).search_model_versions(f"name LIKE '{_MODELS}%'", page_token=token)
        found += [lookup.from_mlflow(one) for one in page]
        token = page.token
        if not token:
            return found


def needed(checkout: Path, place: Place, registered: Iterable[Version], old: Collection[Night]) -> list[str]:
    """Return the dvc.lock files, as texts, of all that is not an old night.

    Raises:
        InputError: what a version names cannot be read.
    """
    locks = [*_locks_of_versions(place, registered), *_locks_of_folders(checkout, {night.root for night in old})]
    locks += _locks_of_refs(checkout, {f"refs/heads/nights/{night.date}" for night in old})
    return locks


def _locks_of_versions(place: Place, registered: Iterable[Version]) -> Iterator[str]:
    for version in registered:
        with tempfile.TemporaryDirectory() as scratch:
            file = kept.fetch(place, version, Path(scratch)).file(_LOCK)
            if file is None:
                raise InputError(
                    f"the registry keeps no dvc.lock of version {version.number} of {version.model}",
                    field="run_id", value=version.run_id, rule="every registered version keeps the files it needs",
                    cure="restore the run's artefacts from a backup; nothing is removed until then",
                )  # fmt: skip
            yield file.read_text(encoding="utf-8")


def _locks_of_folders(checkout: Path, without: Collection[Path]) -> Iterator[str]:
    candidates = [checkout, *(path.parent for path in (checkout / "runs").glob("**/" + _LOCK))]
    for folder in candidates:
        if folder not in without and (folder / _LOCK).is_file():
            yield (folder / _LOCK).read_text(encoding="utf-8")


def _locks_of_refs(checkout: Path, without: Collection[str]) -> Iterator[str]:
    for ref in git(checkout, "for-each-ref", "--format=%(refname)").split():
        if ref not in without:
            yield from _lock_of(checkout, ref)


def locks_of(checkout: Path, nights: Collection[Night]) -> list[str]:
    """Return the dvc.lock of nights, of branch and folder."""
    found = [text for night in nights if night.commit for text in _lock_of(checkout, night.commit)]
    files = [night.root / _LOCK for night in nights]
    return found + [file.read_text(encoding="utf-8") for file in files if file.is_file()]


def _lock_of(checkout: Path, ref: str) -> Iterator[str]:
    if git(checkout, "ls-tree", "--name-only", ref, _LOCK).strip():
        yield git(checkout, "show", f"{ref}:{_LOCK}")


def hashes(stores: Collection[Path], locks: Iterable[str]) -> set[str]:
    """Return the hashes of all outputs that lock files name, with each folder's files as one of `stores` lists them."""
    found: set[str] = set()
    for text in locks:
        for stage in ((yaml.safe_load(text) or {}).get("stages") or {}).values():
            found |= {str(out["md5"]) for out in stage.get("outs", ()) if "md5" in out}
    for digest in [one for one in found if one.endswith(_DIR)]:
        for listing in (place_of(store, digest) for store in stores):
            if listing.is_file():
                found |= {str(entry["md5"]) for entry in json.loads(listing.read_text(encoding="utf-8"))}
    return found


def place_of(store: Path, digest: str) -> Path:
    """Return where a DVC cache or remote keeps an object."""
    return store / "files" / "md5" / digest[:2] / digest[2:]


def runs(place: Place, commits: Collection[str]) -> list[NightRun]:
    """Return the MLflow runs of these commits that still have artefacts."""
    file = lookup.sqlite_file(place.uri)
    if not commits or (file is not None and not file.exists()):
        return []
    found = []
    for experiment in client(place).search_experiments(filter_string=f"name LIKE '{_MODELS}%'"):
        for run in _all_runs(place, experiment.experiment_id):
            tags = run.data.tags
            if tags.get("git_commit") in commits and _REMOVED not in tags:
                found.append(NightRun(run.info.run_id, run.info.artifact_uri))
    return found


def _all_runs(place: Place, experiment: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = client(place).search_runs([experiment], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def forget_artefacts(place: Place, run: NightRun) -> None:
    """Remove a run's artefacts and say so in its tags; its parameters and metrics stay."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(run.artifact_uri, tracking_uri=place.uri).delete_artifacts()
    client(place).set_tag(run.run_id, _REMOVED, "removed by housekeeping")
