"""The command behind `make lineage VERSION=n`: from the served bytes back to data and commit, as text and picture."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from infra import remote, worktree
from infra.worktree import git
from rporec import config
from rporec.errors import InputError
from rporec.files import write_text
from rporec.release import kept, lookup, trace, trace_picture
from rporec.release.kept import Kept
from rporec.release.lookup import Version
from rporec.release.place import Place, locate
from rporec.release.trace import Found
from steps.stage import guarded


def main() -> None:
    """Act on VERSION and PROFILE; exit 1 when a link of the chain is broken, or with one message."""
    guarded(lambda: sys.exit(drive(Path.cwd())))


def drive(folder: Path) -> int:
    """Print the lineage of what the environment names, draw it into reports/, and return the exit code."""
    checkout = worktree.find_checkout(folder)
    number, profile = (os.environ.get(name, "").strip() for name in ("VERSION", "PROFILE"))
    place = locate(checkout, os.environ)
    name = profile or config.load(checkout / "params.yaml").run.profile
    version = kept.version(place, lookup.model_name(name), number)
    with tempfile.TemporaryDirectory() as scratch:
        whole = trace.trace(look(checkout, place, version, kept.fetch(place, version, Path(scratch))))
    picture = checkout / "reports" / f"lineage-{name}-v{version.number}.svg"
    write_text(picture, trace_picture.svg(whole))
    sys.stdout.write(f"{trace.told(whole)}\npicture: {picture}\n")
    return int(bool(whole.broken))


def look(checkout: Path, place: Place, version: Version, run: Kept) -> Found:
    """Ask registry and git for what the chain needs."""
    now = {name: lookup.by_alias(place.uri, version.model, name) for name in (lookup.CHAMPION, lookup.PREVIOUS)}
    aliases = tuple(name for name, found in now.items() if found is not None and found.number == version.number)
    gates = run.json("gates.json")
    against = gates["champion"] if gates else None
    return Found(
        version=version,
        aliases=aliases,
        package=lookup.package_folder(place.uri, version, place.cache),
        kept=run,
        commit=_described(checkout, version.tags.get("git_commit", "")),
        parent=lookup.by_number(place.uri, version.model, int(against["version"])) if against else None,
        owed_since=_owed_since(place, run),
    )


def _owed_since(place: Place, run: Kept) -> str | None:
    lock = run.file("dvc.lock")
    entries = {} if lock is None else config.read_yaml(lock.read_text(encoding="utf-8"))["stages"]
    return remote.owed_since(place.home, remote.hashes_of(entries))


def _described(checkout: Path, commit: str) -> str:
    """Return date and subject of a commit, "" when the repository does not have it."""
    try:
        return git(checkout, "show", "--no-patch", "--format=%cs %s", f"{commit}^{{commit}}").strip() if commit else ""
    except InputError:
        return ""


if __name__ == "__main__":
    main()
