"""The commands behind the DAGs' tasks: `python -m infra.night prepare|stage|finish|act`.

A night is one scheduled run, named by its logical date. It works in a git worktree `runs/nights/<date>` on the branch
`nights/<date>`, from what is committed; the date is its only change to the parameters, so an old night gives the old
bytes again. Only paths, ids and hashes go back to Airflow.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import sys
from pathlib import Path

from infra import last_night, overlay, repro, run, workspace, worktree
from infra.workspace import Workspace
from infra.worktree import git
from rporec import config
from rporec.data.sources import identity, place
from rporec.errors import InputError
from rporec.release import manifest, summary
from steps.stage import guarded, home_folder

log = logging.getLogger("rporec")
_COMMITTED = ("dvc.lock", "params.yaml", "source.lock.json", last_night.NAME)
_IDENTITY = ("-c", "user.name=rporec", "-c", "user.email=rporec@localhost")


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "stage", "finish", "act"):
        command = commands.add_parser(name)
        command.add_argument("--date", required=True, help="logical date, YYYY-MM-DD")
        if name in ("stage", "act"):
            command.add_argument("name", help="the stage, or gate or promote")
        if name == "act":
            command.add_argument("--package", required=True, help="hash of the package that the night handed over")
    given = parser.parse_args()
    guarded(lambda: _dispatch(given))


def _dispatch(given: argparse.Namespace) -> None:
    date = _date(given.date)
    if given.command == "prepare":
        prepare(date)
    elif given.command == "stage":
        stage(date, given.name)
    elif given.command == "finish":
        sys.stdout.write(json.dumps(finish(date)) + "\n")  # the last line is what Airflow keeps
    else:
        act(date, given.name, given.package)


def prepare(date: str) -> None:
    """Make the night's worktree: committed code, the profile of RPOREC_PROFILE, `ingest.as_of` set to the date.

    A night that was finished keeps its own commit; an unfinished one starts again from what is committed now.
    """
    checkout = worktree.find_checkout(Path.cwd())
    profile = os.environ.get("RPOREC_PROFILE", "") or "nightly"
    where = place.resolve(os.environ.get("RPOREC_DATA", ""), checkout)
    merged, params = overlay.merge(checkout, profile, f"ingest.as_of={date}", where)
    source = identity.describe(params.ingest, where)
    space = Workspace(checkout, _root(checkout, date), home_folder(checkout), where, params, merged, source)
    with workspace.locked(space.checkout, space.root):
        branch = f"nights/{date}"
        if _is_finished(checkout, branch):
            worktree.ensure_worktree(checkout, space.root, git(checkout, "rev-parse", branch).strip(), branch)
            git(space.root, "reset", "--hard", "--quiet")
        else:
            worktree.ensure_worktree(checkout, space.root, git(checkout, "rev-parse", "HEAD").strip(), branch)
            git(space.root, "reset", "--hard", "--quiet")
            text = overlay.apply(space.root / "params.yaml", merged)
            workspace.write_changed(space.root / "params.yaml", text)
            last_night.pin(space.root, space.home, params)
        workspace.settle(space)
    log.info("night %s: %s with profile %s", date, space.root, profile)


def stage(date: str, name: str) -> None:
    """Run one stage of a prepared night unless it is up to date."""
    space = prepared(date)
    with workspace.locked(space.checkout, space.root):
        before = repro.record_times(space.root)
        repro.reproduce(space.root, workspace.environment(space), name, space.data)
        repro.keep_records(space.root, space.home, repro.written_since(space.root, before))
        if name == "validate":
            last_night.keep(space.root, space.home, space.params)


def finish(date: str) -> dict[str, str]:
    """Commit the night's lock file on its branch and push where a remote is set; return what is handed on.

    Returns:
        `workspace`, `package_hash`, `commit`, `date`.
    """
    space = prepared(date)
    with workspace.locked(space.checkout, space.root):
        # An old night's commit may be from before one of these files.
        git(space.root, "add", "--force", *(name for name in _COMMITTED if (space.root / name).exists()))
        if git(space.root, "status", "--porcelain", "--untracked-files=no"):
            git(space.root, *_IDENTITY, "commit", "--quiet", "--message", f"night {date}")
        repro.push(space.root)
        remote = space.params.nights.git_remote
        if remote is not None:
            git(space.root, "push", "--force", remote, f"HEAD:refs/heads/nights/{date}")
    package_hash = manifest.read(space.root / summary.PACKAGE).package_hash
    commit = git(space.root, "rev-parse", "HEAD").strip()
    return {"workspace": str(space.root), "package_hash": package_hash, "commit": commit, "date": date}


def act(date: str, name: str, package_hash: str) -> None:
    """Judge or promote the package that a night handed over.

    Raises:
        InputError: the night holds another package by now.
    """
    space = prepared(date)
    with workspace.locked(space.checkout, space.root):
        found = manifest.read(space.root / summary.PACKAGE).package_hash
        if found != package_hash:
            raise InputError(
                "the night holds another package than it handed over",
                file=space.root, field="package_hash", value=found, rule=f"must be {package_hash}",
                cure="the night ran again: its own event promotes it",
            )  # fmt: skip
        run.act(space, name)
        if name == "promote":
            run.report(space, set(), space.checkout / "reports" / "nights" / date)


def prepared(date: str) -> Workspace:
    """Return the workspace of a prepared night.

    Raises:
        InputError: the night was not prepared.
    """
    checkout = worktree.find_checkout(Path.cwd())
    root = _root(checkout, date)
    if not (root / "params.yaml").is_file():
        raise InputError("the night was not prepared", file=root, cure=f"python -m infra.night prepare --date {date}")
    where = place.resolve(os.environ.get("RPOREC_DATA", ""), checkout)
    return Workspace(checkout, root, home_folder(checkout), where, config.load(root / "params.yaml"), {}, {})


def _root(checkout: Path, date: str) -> Path:
    return checkout / "runs" / "nights" / date


def _is_finished(checkout: Path, branch: str) -> bool:
    exists = git(checkout, "branch", "--list", branch).strip()
    return bool(exists) and "dvc.lock" in git(checkout, "ls-tree", "--name-only", branch).splitlines()


def _date(text: str) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(
            "the date cannot be read", field="--date", value=text, rule="YYYY-MM-DD", cure="correct it"
        ) from None


if __name__ == "__main__":
    main()
