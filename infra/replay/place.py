"""Where a replay works: a clone of what is committed, with a registry of its own, below runs/replay/.

Nights write branches, an MLflow registry, a ledger, an audit. A replay writes all of these into its own clone and its
own RPOREC_HOME, so that nothing of it meets what users are served. Not the replay itself: infra/replay/__main__.py.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from infra import overlay, workspace
from infra.worktree import find_checkout, git
from rporec import config
from rporec.data.sources import identity, place
from rporec.errors import InputError
from rporec.files import write_text
from rporec.release.lookup import default_uri, model_name
from rporec.release.place import Place

log = logging.getLogger("rporec")
NIGHTLY = "nightly"
# What tells two replays apart, beside what the user gives: other files change no figure.
_CODE = ("rporec", "steps", "infra", "dvc.yaml", "params.yaml", "profiles", "requirements.txt")
# A replay pushes nothing and asks nobody outside its own folder, whatever the profile says.
_OWN = {"run": {"dvc_remote": "dvc/remote"}, "nights": {"git_remote": None}}
_COMMITTER = ("-c", "user.name=rporec", "-c", "user.email=rporec@localhost")
_NOT_HANDED_ON = ("MLFLOW_TRACKING_URI", "RPOREC_AUDIT_URL", "RPOREC_STORE", "PROFILE", "DATA", "SET", "FROM", "NIGHTS")


@dataclass(frozen=True)
class Asked:
    """What the user asked for, checked.

    Args:
        checkout: where the command was given.
        profile: the profile that the nights are made of.
        settings: SET.
        first: date of the first night.
        nights: how many.
        data: the place given by DATA= (may hold a password), or None.
        params: of the profile, by which the data are read.
    """

    checkout: Path
    profile: str
    settings: str
    first: dt.date
    nights: int
    data: str | None = field(repr=False)
    params: config.Params

    @property
    def dates(self) -> list[str]:
        """The nights' logical dates."""
        return [(self.first + dt.timedelta(days=number)).isoformat() for number in range(self.nights)]

    @property
    def name(self) -> str:
        """The profile of the nights: `<profile>_nightly`, or `nightly` itself."""
        ending = self.profile.endswith(f"_{NIGHTLY}") or self.profile == NIGHTLY
        return self.profile if ending else f"{self.profile}_{NIGHTLY}"


@dataclass(frozen=True)
class Replay:
    """An opened replay: what was asked, its folder and the parameters of its nights (`as_of` is the first one's)."""

    asked: Asked
    folder: Path
    params: config.Params

    @property
    def clone(self) -> Path:
        """The clone that the nights run in."""
        return self.folder / "clone"

    @property
    def home(self) -> Path:
        """RPOREC_HOME of the nights."""
        return self.folder / "home"

    @property
    def registry(self) -> Place:
        """The registry of the nights."""
        return Place(default_uri(self.home), self.home)

    @property
    def model(self) -> str:
        """The registered name."""
        return model_name(self.asked.name)

    def environment(self, caller: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a night, from that of the caller."""
        kept = {name: value for name, value in caller.items() if name not in _NOT_HANDED_ON}
        return {
            **kept,
            "RPOREC_HOME": str(self.home),
            "RPOREC_PROFILE": self.asked.name,
            "RPOREC_DATA": self.asked.data or "",
            "PYTHONPATH": "",
            workspace.MARK: str(self.clone),
            workspace.RUN: workspace.TOKEN,
        }


def ask(environment: Mapping[str, str], folder: Path) -> Asked:
    """Check what was given: PROFILE, DATA, SET, FROM, NIGHTS.

    Args:
        environment: of the caller.
        folder: the caller's current folder.

    Raises:
        InputError: a date or number that cannot be read, an unknown profile, a bad value, unreadable data.
    """
    profile, data, settings, first, nights = (
        environment.get(name, "").strip() for name in ("PROFILE", "DATA", "SET", "FROM", "NIGHTS")
    )
    checkout = find_checkout(folder)
    try:
        start = dt.date.fromisoformat(first)
    except ValueError:
        raise InputError(
            "the first night is not given", field="FROM", value=first, rule="a date, YYYY-MM-DD",
            cure="make replay FROM=2011-09-01 NIGHTS=14",
        ) from None  # fmt: skip
    if not nights.isdecimal() or int(nights) < 1:
        raise InputError(
            "the number of nights is not given", field="NIGHTS", value=nights, rule="a whole number from 1",
            cure="make replay FROM=2011-09-01 NIGHTS=14",
        )  # fmt: skip
    where = place.resolve(data, folder)
    params = overlay.merge(checkout, profile or "demo", f"{settings} ingest.as_of={start}", where)[1]
    return Asked(checkout, profile or "demo", settings, start, int(nights), where, params)


def folder_of(asked: Asked) -> Path:
    """Return the folder of a replay: the same for the same code, data, settings and first night."""
    listed = git(asked.checkout, "ls-tree", "HEAD", "--", *_CODE)
    source = identity.describe(asked.params.ingest, asked.data)
    told = json.dumps([listed, asked.profile, asked.settings, asked.first.isoformat(), source], sort_keys=True)
    return asked.checkout / "runs" / "replay" / asked.name / hashlib.sha256(told.encode()).hexdigest()[:12]


def open_replay(asked: Asked, folder: Path) -> Replay:
    """Make the clone unless it is there; the folder's lock is held.

    Raises:
        InputError: git refused, or the nights' profile breaks the schema.
    """
    clone = folder / "clone"
    if not clone.exists():
        _clone(asked, clone)
    for shared in (folder.parent / "dvc", folder / "home"):  # the cache is content by hash: any code may share it
        shared.mkdir(parents=True, exist_ok=True)
    link = folder / "home" / "dvc"
    if not link.is_symlink():
        link.symlink_to(folder.parent / "dvc")
    params = overlay.merge(clone, asked.name, f"ingest.as_of={asked.first}", asked.data)[1]
    if git(asked.checkout, "status", "--porcelain", "--", *_CODE).strip():
        log.warning("replay: nights run what is committed; the uncommitted changes of this checkout take no part")
    return Replay(asked, folder, params)


def _clone(asked: Asked, clone: Path) -> None:
    commit = git(asked.checkout, "rev-parse", "HEAD").strip()
    new = clone.with_name(".new-clone")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    git(asked.checkout, "clone", "--quiet", "--no-checkout", str(asked.checkout), str(new))
    git(new, "checkout", "--quiet", "--detach", commit)
    git(new, "remote", "remove", "origin")
    changes = overlay.combine(_profile(new, asked), overlay.parse_settings(asked.settings))
    whole = overlay.combine(changes, overlay.combine(_OWN, {"run": {"profile": asked.name}}))
    text = f"# Made by make replay from profile {asked.profile}.\n{yaml.safe_dump(whole, sort_keys=False)}"
    write_text(new / "profiles" / f"{asked.name}.yaml", text)
    git(new, "add", "profiles")
    git(new, *_COMMITTER, "commit", "--quiet", "--allow-empty", "--message", f"replay: {asked.name}")
    new.rename(clone)


def _profile(clone: Path, asked: Asked) -> dict[str, object]:
    """Return the differences of the nights' profile: a file of that name, or `nightly` on top of the given one."""
    if (clone / "profiles" / f"{asked.name}.yaml").exists():
        return overlay.differences(clone, asked.name)
    given = {} if asked.profile == "demo" else overlay.differences(clone, asked.profile)
    return overlay.combine(given, overlay.differences(clone, NIGHTLY))


def command(date: str) -> list[str]:
    """Return the command that runs one night; it is given in the clone."""
    return [sys.executable, "-m", "infra.replay.night", "--date", date]
