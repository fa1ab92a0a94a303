"""Which champion a night warm-starts from: decided by `prepare`, pinned in `parent.json`, its outputs brought here.

Stages hang on their deps alone, so `parent.json` holds all that tells the parent apart, hashes included; it is `{}` for
every run that is no night. What a stage may take from the parent's outputs is decided by rporec/parent.py.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from infra import pipeline, worktree
from infra.workspace import WEIGHTS, Workspace
from rporec import config
from rporec.errors import InputError
from rporec.files import read_json, replace_folder, sha256_path, write_json
from rporec.parent import FOLDER, NAME, STAGES, Parent
from rporec.release import audit, kept, lookup
from rporec.release.audit_row import rolled_back
from rporec.release.lookup import Version
from rporec.release.place import locate

log = logging.getLogger("rporec")
# What shapes the weights: with any other value there is nothing to go on with.
_SHAPES = {
    "backbone": (
        "source", "name", "vocab_size", "width", "layers", "heads", "max_prompt_tokens", "max_completion_tokens",
        "evidence",
    ),
    "rechead": ("architecture", "encoder", "text_dim", "width", "layers", "heads"),
}  # fmt: skip


def pin(space: Workspace, date: str) -> None:
    """Decide where a night starts from, bring it here, and write `parent.json`.

    Args:
        space: of the night, with its params and lock files in place.
        date: logical date; only a champion whose own `as_of` is earlier counts.

    Raises:
        InputError: the champion's outputs are in neither the DVC cache nor the DVC remote.
    """
    nights = space.params.nights
    version = _champion_before(space, date)
    why = None
    if not nights.warm_start:
        why = "nights.warm_start is false"
    elif nights.scratch_every and dt.date.fromisoformat(date).toordinal() % nights.scratch_every == 0:
        why = f"every {nights.scratch_every}th night is (nights.scratch_every)"
    elif version is None:
        why = f"there is no champion with data before {date}"
    if why is None and version is not None:
        run = _Run(space, version)
        why = run.misfit()
        if why is None:
            stated = run.stated()
            write_json(space.root / NAME, {**stated, "outputs": _brought(space, stated["outputs"])})
            log.info("night %s: warm start from version %d (data up to %s)", date, version.number, version.as_of)
            return
    log.info("night %s: from scratch: %s", date, why)
    write_json(space.root / NAME, {"scratch": why})


def bring(space: Workspace) -> None:
    """Put the outputs of the pinned parent below the workspace, unless they are there or none is pinned.

    Raises:
        InputError: they are in neither the DVC cache nor the DVC remote, or not those that were pinned.
    """
    file = space.root / NAME
    parent = Parent.of(read_json(file)) if file.exists() else None
    if parent is None or all(
        sha256_path(space.root / FOLDER / stage) == parent.outputs[stage]["sha256"] for stage in STAGES
    ):
        return
    found = _brought(space, {stage: dict(parent.outputs[stage]) for stage in STAGES})
    if found != parent.outputs:
        raise InputError(
            "the outputs of the parent are others than were pinned", file=file, value=str(found),
            rule=str(parent.outputs), cure="restore the DVC cache and remote from a backup",
        )  # fmt: skip


def _champion_before(space: Workspace, date: str) -> Version | None:
    """Return the newest version that was champion, was not taken back, and whose data end before the night's."""
    place, model = locate(space.root, os.environ), lookup.model_name(space.params.run.profile)
    moves = audit.rows(place.audit, model)
    numbers = {row.to_version for row in moves if row.alias == lookup.CHAMPION and row.to_version is not None}
    found = [lookup.by_number(place.uri, model, number) for number in sorted(numbers - set(rolled_back(moves)))]
    earlier = [version for version in found if version is not None and "" < version.as_of < date]
    return max(earlier, key=lambda version: (version.as_of, version.number), default=None)


class _Run:
    """What the run behind a version left: its dvc.lock and params.yaml, by its commit or by the registry."""

    def __init__(self, space: Workspace, version: Version) -> None:
        self._space, self._version = space, version
        self._commit = version.tags.get("git_commit", "")
        self._files = self._from_git() or self._from_registry()

    def misfit(self) -> str | None:
        """Return why its weights do not fit tonight's params, None where they do."""
        name = f"version {self._version.number}"
        if "dvc.lock" not in self._files or "params.yaml" not in self._files:
            return f"the registry does not keep dvc.lock and params.yaml of {name}"
        then, now = config.read_yaml(self._files["params.yaml"]), self._space.params
        for section, keys in _SHAPES.items():
            today = now.section(section).model_dump(mode="json")
            for key in keys:
                was = then.get(section, {}).get(key)
                if was != today[key]:
                    return f"{section}.{key} was {was} in {name} and is {today[key]}"
        for lock in WEIGHTS:
            if yaml.safe_load(self._files.get(lock, "{}")) != read_json(self._space.root / lock):
                return f"{lock} of {name} names other weights"
        if missing := [stage for stage in STAGES if stage not in self._outs()]:
            return f"dvc.lock of {name} does not hold the stage {missing[0]}"
        return None

    def stated(self) -> dict[str, Any]:
        """Return what `parent.json` says, but for the content's hashes."""
        version = self._version
        return {
            "version": version.number,
            "commit": self._commit,
            "package_hash": version.package_hash,
            "as_of": version.as_of,
            "outputs": {stage: {"md5": self._outs()[stage]} for stage in STAGES},
        }

    def _outs(self) -> dict[str, str]:
        stages = yaml.safe_load(self._files["dvc.lock"])["stages"]
        return {
            stage: out["md5"]
            for stage, entry in stages.items()
            for out in entry.get("outs", [])
            if out["path"] == f"outputs/{stage}"
        }

    def _from_git(self) -> dict[str, str]:
        """Return the files of the commit; {} where its dvc.lock is not the version's, as for all but nights."""
        files = {}
        for name in ("dvc.lock", "params.yaml", *WEIGHTS):
            with contextlib.suppress(InputError):  # the commit is not here, or does not hold the file
                files[name] = worktree.git(self._space.checkout, "show", f"{self._commit}:{name}")
        digest = hashlib.sha256(files.get("dvc.lock", "").encode()).hexdigest()
        return files if digest == self._version.tags.get("dvc_lock_hash") else {}

    def _from_registry(self) -> dict[str, str]:
        """Return the files that the registry keeps of the run; {} where that is gone."""
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
            found = kept.fetch(locate(self._space.root, os.environ), self._version, Path(folder))
            names = ("dvc.lock", "params.yaml", *WEIGHTS)
            paths = {name: found.file(name) for name in names}
            return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path is not None}
        return {}


def _brought(space: Workspace, outputs: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Put outputs in place by DVC's hashes; return them with the hashes of their content."""
    new = space.root / "work" / f"{FOLDER}.new"
    shutil.rmtree(new, ignore_errors=True)
    (new / ".dvc").mkdir(parents=True)
    remote = space.params.run.dvc_remote
    url = remote if "://" in remote else str(space.home / remote)
    (new / ".dvc" / "config").write_text(
        f"[core]\n    no_scm = True\n    remote = store\n    site_cache_dir = {space.home / 'dvc' / 'site'}\n"
        f"[cache]\n    dir = {space.home / 'dvc' / 'cache'}\n['remote \"store\"']\n    url = {url}\n"
        # What the cache holds is enough, also where there is no remote yet.
        f"['remote \"shared\"']\n    url = {space.home / 'dvc' / 'cache'}\n",
        encoding="utf-8",
    )
    stages = {stage: {"cmd": "true", "outs": [f"outputs/{stage}"]} for stage in STAGES}
    locked = {
        stage: {"cmd": "true", "outs": [{"path": f"outputs/{stage}", "hash": "md5", "md5": outputs[stage]["md5"]}]}
        for stage in STAGES
    }
    (new / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    (new / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}), encoding="utf-8")
    try:
        with contextlib.chdir(space.root):
            pipeline.fetch(new, STAGES)
    except InputError as error:
        raise InputError(
            "the champion that this night starts from has lost its outputs: DVC cache and remote do not hold them",
            file=space.home / "dvc" / "cache", field="outputs", value=str(outputs),
            rule="the outputs of the stages backbone and rechead, by hash",
            cure="dvc push where they were made, or restore cache or remote from a backup; or commit "
            "nights.warm_start: false and prepare the night again",
        ) from error  # fmt: skip
    replace_folder(new / "outputs", space.root / FOLDER)
    shutil.rmtree(new)
    return {
        stage: {"md5": outputs[stage]["md5"], "sha256": sha256_path(space.root / FOLDER / stage)} for stage in STAGES
    }
