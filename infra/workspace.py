"""Where a run works: in place, or in a git worktree `runs/<profile>` with the merged parameters.

Plans first and touches nothing until every input is known to be good; repairs what a killed run left half made.
Not the run itself: see infra/run.py.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra import overlay
from rporec import config
from rporec.errors import InputError
from rporec.files import atomic_file, read_json, write_json, write_text

MARK = "RPOREC_WORKSPACE"  # in the environment of every process of a run, so that orphans can be told
OWN = frozenset({"dvc.lock", "source.lock.json", "params.yaml"})  # a workspace has its own


@dataclass(frozen=True)
class Workspace:
    """A planned run; nothing on disk is changed by making one.

    Args:
        checkout: the checkout that the command was given in.
        root: where the stages run; equals `checkout` for a run in place.
        home: RPOREC_HOME, where all that outlives a run lies.
        data: the folder given by DATA=, or None.
        params: the merged, checked parameters.
        overlay: what the profile, DATA and SET change in params.yaml; empty for a run in place.
        source: content of source.lock.json.
    """

    checkout: Path
    root: Path
    home: Path
    data: Path | None
    params: config.Params
    overlay: dict[str, Any]
    source: dict[str, Any]

    @property
    def in_place(self) -> bool:
        """Whether the stages run in the checkout itself."""
        return self.root == self.checkout


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it printed.

    Raises:
        InputError: git refused; its own words are in the message.
    """
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(
            f"git {arguments[0]} failed: {done.stderr.strip() or done.returncode}",
            file=folder,
            cure="run from a git clone of the project with at least one commit, and mend what git says",
        )
    return done.stdout


def find_checkout(folder: Path) -> Path:
    """Return the top of the checkout that holds `folder`."""
    return Path(git(folder, "rev-parse", "--show-toplevel").strip()).resolve()


def home_folder(checkout: Path) -> Path:
    """Return RPOREC_HOME, by default var/ of the main checkout, which all worktrees share."""
    given = os.environ.get("RPOREC_HOME", "")
    if given:
        return Path(given).expanduser().resolve()
    common = git(checkout, "rev-parse", "--path-format=absolute", "--git-common-dir").strip()
    return Path(common).resolve().parent / "var"


def plan(profile: str, data: str, settings: str, folder: Path) -> Workspace:
    """Check all that the caller gave and return where the run would work.

    Args:
        profile: name in profiles/, or empty.
        data: folder of a real data set, absolute or relative to `folder`, or empty.
        settings: `a.b=c d.e=f`, or empty.
        folder: the caller's current folder.

    Raises:
        InputError: an unknown profile, key or folder, a value that breaks its rule, unreadable data.
    """
    checkout = find_checkout(folder)
    merged: dict[str, Any] = {}
    data_folder = (folder / Path(data).expanduser()).resolve() if data else None
    if profile or data or settings:
        name = profile or "demo"
        merged, params = overlay.merge(checkout, name, settings, has_data=data_folder is not None)
        root = checkout / "runs" / name
    else:
        params, root = config.load(checkout / "params.yaml"), checkout
    source = describe_source(params, data_folder)
    return Workspace(checkout, root, home_folder(checkout), data_folder, params, merged, source)


def existing(profile: str, folder: Path) -> Workspace:
    """Return the workspace of an earlier run of a profile as it stands.

    Raises:
        InputError: there was no such run.
    """
    checkout = find_checkout(folder)
    root = checkout / "runs" / profile if profile else checkout
    if not (root / "params.yaml").is_file():
        raise InputError("this profile has not run", file=root, field="PROFILE", value=profile, cure="make run first")
    return Workspace(checkout, root, home_folder(checkout), None, config.load(root / "params.yaml"), {}, {})


def describe_source(params: config.Params, data: Path | None) -> dict[str, Any]:
    """Return the content of source.lock.json: kind, file names, sha256."""
    from rporec.data import sources

    kind = params.ingest.source
    if kind == "folder" and data is None:
        raise InputError(
            "no data folder is given", field="ingest.source", value=kind, cure="add DATA=<folder> to the command"
        )
    described: dict[str, Any] = sources.describe(kind, data if kind == "folder" else None)
    return described


@contextmanager
def locked(space: Workspace) -> Iterator[None]:
    """Hold the workspace for this process; end what a dead run left running there.

    Raises:
        InputError: another living run holds it.
    """
    path = (
        space.checkout / "runs" / ".checkout.lock"
        if space.in_place
        else space.root.with_name(f".{space.root.name}.lock")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise InputError(
                f"another run (process {stream.read().strip() or 'unknown'}) works in this folder",
                file=space.root,
                cure="wait until it is done, or choose another PROFILE",
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        end_orphans(space.root)
        yield


def end_orphans(root: Path) -> list[int]:
    """Kill processes of a dead run in `root` (call it only with the lock held); return their ids."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(root):
                process.kill()
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
    psutil.wait_procs(found, timeout=10)
    return [process.pid for process in found]


def prepare(space: Workspace) -> None:
    """Bring the workspace to the planned state; files that are right already are not touched."""
    if not space.in_place:
        ensure_worktree(space.checkout, space.root, git(space.checkout, "rev-parse", "HEAD").strip())
        copy_sources(space.checkout, space.root, skip=space.data)
        write_changed(space.root / "params.yaml", overlay.apply(space.checkout / "params.yaml", space.overlay))
    settle(space)


def settle(space: Workspace) -> None:
    """Write what a workspace has of its own beside its parameters: DVC's settings and source.lock.json."""
    write_dvc_config(space)
    lock = space.root / "source.lock.json"
    if not lock.exists() or read_json(lock) != space.source:
        write_json(lock, space.source)


def write_changed(path: Path, text: str) -> None:
    """Write a text file only when its content differs, so that nothing that hangs on it is hashed again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def ensure_worktree(checkout: Path, root: Path, commit: str, branch: str = "") -> None:
    """Make or mend a git worktree at `root` on `commit`, detached or on `branch`; files in it are left alone."""
    if not _is_worktree(root):
        fresh = root.with_name(f".new-{root.name}")
        _forget(checkout, fresh)
        root.mkdir(parents=True, exist_ok=True)
        git(checkout, "worktree", "add", "--detach", "--no-checkout", str(fresh), commit)
        (fresh / ".git").replace(root / ".git")
        shutil.rmtree(fresh)
        git(checkout, "worktree", "repair", str(root))
    admin = Path(git(root, "rev-parse", "--absolute-git-dir").strip())
    (admin / "index.lock").unlink(missing_ok=True)  # left by a killed git; the workspace lock is held
    if branch:
        git(root, "update-ref", f"refs/heads/{branch}", commit)
        git(root, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    else:
        git(root, "update-ref", "--no-deref", "HEAD", commit)
    git(root, "read-tree", commit)


def _is_worktree(root: Path) -> bool:
    if not (root / ".git").is_file():
        return False
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and Path(done.stdout.strip()).resolve() == root.resolve()


def _forget(checkout: Path, folder: Path) -> None:
    """Remove a half-made worktree, whatever state a kill left it in."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = git(checkout, "worktree", "list", "--porcelain").splitlines()
    if f"worktree {folder}" in listed:
        git(checkout, "worktree", "remove", "--force", "--force", str(folder))
    git(checkout, "worktree", "prune")


def copy_sources(checkout: Path, root: Path, skip: Path | None) -> None:
    """Make the workspace's files those of the checkout as they stand: edits, new files and deletions included."""
    wanted = _files(checkout, skip)
    for name in sorted(_files(root, None) - wanted):
        (root / name).unlink(missing_ok=True)
    for name in sorted(wanted):
        source, target = checkout / name, root / name
        if _same(source, target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as temporary:
            shutil.copy2(source, temporary)


def _files(folder: Path, skip: Path | None) -> set[str]:
    """Names of tracked and of new, not ignored files that exist, without what a workspace has of its own."""
    listed = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    names = {name for name in listed if name and name not in OWN and (folder / name).is_file()}
    if skip is not None:
        names = {name for name in names if not (folder / name).is_relative_to(skip)}
    return names


def _same(source: Path, target: Path) -> bool:
    if not target.is_file() or source.stat().st_mode != target.stat().st_mode:
        return False
    return source.stat().st_size == target.stat().st_size and source.read_bytes() == target.read_bytes()


def write_dvc_config(space: Workspace) -> None:
    """Point DVC at the shared cache and the default remote; a user's own local settings are kept."""
    from configobj import ConfigObj

    local = space.root / ".dvc" / "config.local"
    own = local if local.exists() or space.in_place else space.checkout / ".dvc" / "config.local"
    lines = own.read_text(encoding="utf-8").splitlines() if own.exists() else []
    settings = ConfigObj(lines, list_values=False)
    remote = space.params.run.dvc_remote
    wanted = {
        "core": {"remote": "store", "site_cache_dir": str(space.home / "dvc" / "site")},
        "cache": {"dir": str(space.home / "dvc" / "cache")},
        'remote "store"': {"url": remote if "://" in remote else str(space.home / remote)},
    }
    for section, values in wanted.items():
        settings.setdefault(section, {}).update(values)
    (space.home / "dvc").mkdir(parents=True, exist_ok=True)
    write_changed(local, "\n".join(settings.write()) + "\n")


def environment(space: Workspace) -> dict[str, str]:
    """Return what the stages' processes get on top of the caller's environment."""
    import sys

    threads = str(space.params.run.threads)
    return {
        MARK: str(space.root),
        "RPOREC_HOME": str(space.home),
        "RPOREC_DATA": str(space.data) if space.data is not None else "",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "POLARS_MAX_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "GX_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }
