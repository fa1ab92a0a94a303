"""Whether a night brought anything new: its tables beside those of the last finished night of the same profile.

Compared is what `ingest` made, not the source: the same files hold more for a later date, and other files may hold
nothing more. The earlier tables are taken from the DVC cache by hash; where it lacks them, the night counts as new.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.workspace import Workspace
from infra.worktree import git
from rporec.errors import InputError

log = logging.getLogger("rporec")
SKIP = 99  # exit code that Airflow's BashOperator takes for "skipped"
_STAGE = "ingest"
_EVENTS, _ITEMS = "interactions.parquet", "items.parquet"
_KEY = ("user_id", "item_id", "timestamp", "split")


@dataclass(frozen=True)
class Tables:
    """The tables of one `ingest`, in the DVC cache: name to file."""

    files: dict[str, Path]

    def same(self, other: Tables) -> bool:
        """Whether both are the same bytes; the cache names files by hash."""
        return all(self.files[name] == other.files[name] for name in (_EVENTS, _ITEMS))


def stop_without(space: Workspace, date: str, finished: Callable[[Path, str], str | None]) -> None:
    """End this process with `SKIP` when nothing came in since the last finished night.

    Args:
        space: the night's workspace, `ingest` done.
        date: its logical date.
        finished: tells the profile that a night was finished with, None where it was not.

    Raises:
        SystemExit: there is no news. A night that was finished itself is never stopped.
    """
    profile = space.params.run.profile
    if finished(space.checkout, date) == profile:
        return
    last = earlier(space.checkout, date, profile, finished)
    if last is None or has_news(space, last):
        return
    log.info("night %s: nothing new since night %s; nothing is trained, users keep what they have", date, last)
    raise SystemExit(SKIP)


def earlier(checkout: Path, date: str, profile: str, finished: Callable[[Path, str], str | None]) -> str | None:
    """Return the newest finished night of a profile before a date."""
    listed = git(checkout, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/heads/nights/").split()
    before = sorted((name for name in listed if name < date), reverse=True)  # ISO dates sort as text
    return next((name for name in before if finished(checkout, name) == profile), None)


def has_news(space: Workspace, last: str) -> bool:
    """Whether tonight's tables hold an interaction or an item row that those of the night `last` lack."""
    tonight = _tables(space, (space.root / "dvc.lock").read_text(encoding="utf-8"))
    then = _tables(space, git(space.checkout, "show", f"nights/{last}:dvc.lock"))
    if tonight is None or then is None:
        return True
    return not tonight.same(then) and (_new_events(tonight, then) or _new_items(tonight, then))


def _tables(space: Workspace, lock: str) -> Tables | None:
    cache = space.home / "dvc" / "cache" / "files" / "md5"
    try:
        digest = str(yaml.safe_load(lock)["stages"][_STAGE]["outs"][0]["md5"])
        listed: list[dict[str, str]] = json.loads(_place(cache, digest).read_text(encoding="utf-8"))
        found = Tables({entry["relpath"]: _place(cache, entry["md5"]) for entry in listed})
        return found if all(found.files[name].exists() for name in (_EVENTS, _ITEMS)) else None
    except (OSError, KeyError, IndexError, TypeError, ValueError, InputError):
        return None  # another layout, or tidied away: then the night runs


def _place(cache: Path, digest: str) -> Path:
    return cache / digest[:2] / digest[2:]


def _new_events(tonight: Tables, then: Tables) -> bool:
    now, before = (_read(one.files[_EVENTS]).select(_KEY) for one in (tonight, then))
    return bool(now.join(before, on=_KEY, how="anti", nulls_equal=True).height)


def _new_items(tonight: Tables, then: Tables) -> bool:
    now, before = (_read(one.files[_ITEMS]) for one in (tonight, then))
    return now.columns != before.columns or bool(now.join(before, on=now.columns, how="anti", nulls_equal=True).height)


def _read(path: Path) -> Any:  # noqa: ANN401 - polars is imported only where tables differ
    import polars as pl

    return pl.read_parquet(path)
