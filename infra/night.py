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
from typing import Any

from infra import last_night, news, overlay, parent, pipeline, reasoning, remote, run, workspace, worktree
from infra.workspace import Workspace
from infra.worktree import git
from rporec import config
from rporec.data.sources import identity, place
from rporec.errors import InputError
from rporec.files import sha256_file
from rporec.release import lookup, manifest, summary
from rporec.release.commit import OWN
from steps.stage import guarded, home_folder

log = logging.getLogger("rporec")
_COMMITTED = tuple(sorted(OWN))
_OWN_KEYS = {"run": ("profile", "threads", "dvc_remote"), "nights": ("git_remote",)}
_IDENTITY = ("-c", "user.name=rporec", "-c", "user.email=rporec@localhost")


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "stage", "finish", "act"):
        command = commands.add_parser(name)
        command.add_argument("--date", required=True, help="logical date, YYYY-MM-DD")
        if name in ("stage", "act"):
            command.add_argument("name", help="the stage, or gate, promote or reasoning")
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

    A night that was finished keeps its own commit whole; an unfinished one starts again from what is committed now.
    """
    checkout = worktree.find_checkout(Path.cwd())
    profile = os.environ.get("RPOREC_PROFILE", "") or "nightly"
    root, branch = _root(checkout, date), f"nights/{date}"
    with workspace.locked(checkout, root):
        finished = _finished(checkout, date)
        commit = branch if finished == profile else "HEAD"
        if finished not in (None, profile):
            log.warning("night %s was finished with profile %s and is made anew with %s", date, finished, profile)
        worktree.ensure_worktree(checkout, root, git(checkout, "rev-parse", commit).strip(), branch)
        git(root, "reset", "--hard", "--quiet")
        if finished == profile:
            workspace.write_dvc_config(prepared(date))
            _bring_again(prepared(date))
        else:
            _begin(checkout, root, profile, date)
    _compare_packages(checkout, root, date)
    log.info("night %s: %s with profile %s", date, root, profile)


def _compare_packages(checkout: Path, root: Path, date: str) -> None:
    """Tell where the night's commit states other packages than this checkout, whose environment runs it."""
    stated, installed = (sha256_file(folder / "requirements.txt") for folder in (root, checkout))
    if stated != installed:
        log.warning(
            "night %s states other packages (requirements.txt %s) than run here (%s): what runs may give other bytes",
            date, stated[:12], installed[:12],
        )  # fmt: skip


def _begin(checkout: Path, root: Path, profile: str, date: str) -> None:
    """Write what a night that is not finished has of its own; parameters and profile are those of its commit."""
    where = _place(checkout)
    merged, params = overlay.merge(root, profile, f"ingest.as_of={date}", where)
    source = identity.describe(params.ingest, where)
    space = Workspace(checkout, root, home_folder(checkout), where, params, merged, source)
    text = overlay.apply(root / "params.yaml", merged)
    workspace.write_changed(root / "params.yaml", text)
    last_night.pin(root, space.home, params)
    workspace.settle(space)
    parent.pin(space, date)


def _bring_again(space: Workspace) -> None:
    """Put the parent's outputs in place for a finished night; most often all of its stages are up to date without."""
    try:
        parent.bring(space)
    except InputError as error:
        log.warning("night: %s", error.problem)


def stage(date: str, name: str) -> None:
    """Run one stage of a prepared night unless it is up to date.

    Raises:
        SystemExit: with `news.SKIP`, after ingest, when nothing came in since the last finished night.
    """
    space = prepared(date)
    with workspace.locked(space.checkout, space.root):
        before = pipeline.record_times(space.root)
        pipeline.reproduce(space.root, workspace.environment(space), name, space.data)
        pipeline.keep_records(space.root, space.home, pipeline.written_since(space.root, before))
        if name == "validate":
            last_night.keep(space.root, space.home, space.params)
        if name == "ingest":
            news.stop_without(space, date, _finished)


def finish(date: str) -> dict[str, str]:
    """Commit the night's lock file on its branch and push where a remote is set; return what is handed on.

    A remote that cannot be reached stops no night: what it lacks is owed to it, and later nights try again.

    Returns:
        `workspace`, `package_hash`, `commit`, `date`, `requirements_hash` (SHA-256 of its requirements.txt).
    """
    space = prepared(date)
    with workspace.locked(space.checkout, space.root):
        worktree.drop_locks(space.root, f"nights/{date}")  # of a try that was killed while it committed
        _commit(space, date)
        remote.push(space)
        _push_branches(space)
    package_hash = manifest.read(space.root / summary.PACKAGE).package_hash
    commit = git(space.root, "rev-parse", "HEAD").strip()
    made = {
        "package_hash": package_hash,
        "commit": commit,
        "requirements_hash": sha256_file(space.root / "requirements.txt"),
    }
    return {"workspace": str(space.root), "date": date, **made}


def _commit(space: Workspace, date: str) -> None:
    # An old night's commit may be from before one of these files.
    git(space.root, "add", "--force", *(name for name in _COMMITTED if (space.root / name).exists()))
    changed = git(space.root, "status", "--porcelain", "--untracked-files=no")
    if changed or _finished(space.checkout, date) is None:  # empty where all was committed before: it says finished
        git(space.root, *_IDENTITY, "commit", "--quiet", "--allow-empty", "--message", _message(date))


def _push_branches(space: Workspace) -> None:
    """Push the branches of all finished nights, so that those of a night without a connection follow."""
    to = space.params.nights.git_remote
    if to is None:
        return
    listed = git(space.root, "for-each-ref", "--format=%(refname) %(contents:subject)", "refs/heads/nights")
    heads = [line.partition(" ") for line in listed.splitlines()]
    finished = [ref for ref, _, subject in heads if subject == _message(ref.rpartition("/")[2])]
    try:
        git(space.root, "push", "--force", to, *(f"{ref}:{ref}" for ref in finished))
    except InputError as error:
        log.warning("the branches of nights are not pushed, the next night tries again: %s", error)


def act(date: str, name: str, package_hash: str) -> None:
    """Judge or promote the package that a night handed over, or write the reasoning of a promoted one.

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
        if name == "reasoning":
            write_reasoning(space, package_hash)
            return
        run.act(space, name)
        if name == "promote":
            remote.pay(space)
            run.report(space, set(), space.checkout / "reports" / "nights" / date)


def write_reasoning(space: Workspace, package_hash: str) -> None:
    """Write reasoning ahead of time when the package became the champion; a refusal before leaves nothing to do."""
    champion = lookup.by_alias(run.registry_uri(space), lookup.model_name(space.params.run.profile), lookup.CHAMPION)
    if champion is None or champion.package_hash != package_hash:
        log.info("reasoning: this package is not the champion, nothing to write")
        return
    reasoning.fill_store(space)


def prepared(date: str) -> Workspace:
    """Return the workspace of a prepared night.

    An old night has the parameters of its own day, which today's schema need not fit. So `params` are those of the
    checkout's commit but for `_OWN_KEYS`, all that infra/ reads; the stages read the night's own file by its own code.

    Raises:
        InputError: the night was not prepared.
    """
    checkout = worktree.find_checkout(Path.cwd())
    root = _root(checkout, date)
    file = root / "params.yaml"
    own = overlay.read(file) if file.is_file() else {}
    if own.get("ingest", {}).get("as_of") != date:
        raise InputError("the night was not prepared", file=root, cure=f"python -m infra.night prepare --date {date}")
    today = config.read_yaml(git(checkout, "show", "HEAD:params.yaml"))
    kept: dict[str, Any] = {"ingest": {"as_of": date}}
    for section, keys in _OWN_KEYS.items():
        kept[section] = {key: own[section][key] for key in keys if key in own.get(section, {})}
    params = config.parse(overlay.combine(today, kept), str(file))
    return Workspace(checkout, root, home_folder(checkout), _place(checkout), params, {}, {})


def _place(checkout: Path) -> str | None:
    return place.resolve(os.environ.get("RPOREC_DATA", ""), checkout)


def _root(checkout: Path, date: str) -> Path:
    return checkout / "runs" / "nights" / date


def _message(date: str) -> str:
    return f"night {date}"


def _finished(checkout: Path, date: str) -> str | None:
    """Return the profile that the night was finished with: its branch's tip is then a commit made by `finish`.

    A lock file there says nothing: users commit theirs too.
    """
    branch = f"nights/{date}"
    if not git(checkout, "branch", "--list", branch).strip():
        return None
    if git(checkout, "log", "-1", "--format=%s", branch).strip() != _message(date):
        return None
    params = config.read_yaml(git(checkout, "show", f"{branch}:params.yaml"))
    return str(params["run"]["profile"]) if params["ingest"]["as_of"] == date else None


def _date(text: str) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(
            "the date cannot be read", field="--date", value=text, rule="YYYY-MM-DD", cure="correct it"
        ) from None


if __name__ == "__main__":
    main()
