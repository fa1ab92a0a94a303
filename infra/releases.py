"""The registry's commands: `python -m infra.releases rollback|versions|audit`, behind the verbs of the same names.

PROFILE, TO and REASON come from the environment, as the Makefile hands them over. What a rollback is stands in
`rporec.release.rollback`; nothing heavy but MLflow's client is imported, so that it takes seconds.
"""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra import overlay
from infra.worktree import find_checkout
from rporec import config
from rporec.errors import InputError
from rporec.release import audit, listing, lookup, record, registry
from rporec.release.place import Place, locate
from rporec.release.rollback import Wish, rollback
from rporec.release.signature import UNSIGNED, trust_of
from steps.stage import guarded

log = logging.getLogger("rporec")
_COMMANDS = ("rollback", "versions", "audit")


@dataclass(frozen=True)
class Asked:
    """Whose registry: its place, the registered name, and how long an outage or another writer is waited out."""

    place: Place
    model: str
    wait_seconds: float


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    command = parser.parse_args().command
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # waiting is done by record.patiently, with words
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    guarded(lambda: run(command, Path.cwd(), os.environ))


def run(command: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run one command for the profile in PROFILE.

    Raises:
        InputError: an unknown profile, a TO that is no number, or what the command itself refuses.
    """
    asked = ask(command, folder, environment)
    wish = Wish(wanted(environment), getpass.getuser(), environment.get("REASON", "").strip() or "no reason given")
    actions = {"rollback": lambda: back(asked, wish), "versions": lambda: tell_versions(asked, wish.who)}
    action = actions.get(command, lambda: tell_audit(asked, wish.who))
    record.patiently(action, asked.wait_seconds, asked.place.uri)


def ask(command: str, folder: Path, environment: Mapping[str, str]) -> Asked:
    """Return whose registry is meant: PROFILE's, else that of the checkout's params.yaml.

    A rollback lets in what the profile's `package.signature` lets in; to list things no key is asked for.

    Raises:
        InputError: there is no such profile, or a rollback lacks the key to check packages with.
    """
    checkout = find_checkout(folder)
    profile = environment.get("PROFILE", "").strip()
    params = overlay.merge(checkout, profile, "", None)[1] if profile else config.load(checkout / "params.yaml")
    trust = UNSIGNED if command != "rollback" else trust_of(params.package.signature, environment)
    place = locate(checkout, environment, trust)
    return Asked(place, lookup.model_name(params.run.profile), params.promote.outage_seconds)


def wanted(environment: Mapping[str, str]) -> int | None:
    """Return the version that TO names, None where it names none.

    Raises:
        InputError: it is no version number.
    """
    given = environment.get("TO", "").strip()
    if not given:
        return None
    if not (given.isascii() and given.isdigit()):
        raise InputError("TO is no version number", field="TO", value=given, rule="1, 2, 3 …", cure="make versions")
    return int(given)


def back(asked: Asked, wish: Wish) -> None:
    """Roll back and tell what serves now."""
    done = rollback(asked.place, asked.model, wish, asked.wait_seconds)
    log.info(
        "rollback: version %d of %s is the champion, in place of version %d; a running service follows by itself",
        done.version.number, asked.model, done.replaced,
    )  # fmt: skip


def tell_versions(asked: Asked, who: str) -> None:
    """Print the versions, newest first."""
    registry.mend(asked.place, asked.model, who, asked.wait_seconds)
    listed = listing.versions(asked.place, asked.model) if _is_there(asked.place) else []
    sys.stdout.write(listing.versions_table(listed) if listed else f"{asked.model} has no versions yet\n")


def tell_audit(asked: Asked, who: str) -> None:
    """Print every change of an alias, oldest first."""
    registry.mend(asked.place, asked.model, who, asked.wait_seconds)
    rows = audit.rows(asked.place.audit, asked.model)
    sys.stdout.write(listing.audit_table(rows) if rows else f"nothing was moved in {asked.model} yet\n")


def _is_there(place: Place) -> bool:
    """Whether there is a registry to ask; MLflow would make an sqlite file, which takes half a minute."""
    file = lookup.sqlite_file(place.uri)
    return file is None or file.exists()


if __name__ == "__main__":
    main()
