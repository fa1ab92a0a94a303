"""The commands behind the tasks of the DAG `promote`: `python -m infra.promotion --events JSON gate|promote|…`.

Several packages may wake the DAG together, as after a backfill. The one of the newest night is handled and the others
are named as superseded: a later night holds their data too, judging them would spend looks at the same rows, and a
package older than the champion's data may not be promoted anyway.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra import night, reference, smoke, workspace
from rporec.errors import InputError
from steps.stage import guarded

log = logging.getLogger("rporec")
_NIGHT_ACTS = ("gate", "promote", "reasoning")


@dataclass(frozen=True)
class Handed:
    """A package as a night handed it over: the night's date, the package's hash."""

    date: str
    package_hash: str


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=(*_NIGHT_ACTS, "smoke"))
    parser.add_argument("--events", required=True, help="what the asset's events carry: a JSON list, oldest first")
    given = parser.parse_args()
    guarded(lambda: act(given.name, given.events))


def act(name: str, events: str) -> None:
    """Do one act of the promotion with the newest of the packages that were handed over."""
    chosen, others = choose(read(events))
    for other in others:
        log.info(
            "promotion: package %s of night %s is superseded by night %s and is not judged",
            other.package_hash[:12], other.date, chosen.date,
        )  # fmt: skip
    if name in _NIGHT_ACTS:
        night.act(chosen.date, name, chosen.package_hash)
    if name == "promote":
        reference.keep(night.prepared(chosen.date), chosen.package_hash)
    if name != "smoke":
        return
    space = night.prepared(chosen.date)
    with workspace.locked(space.checkout, space.root):
        smoke.test(space, chosen.package_hash)


def read(events: str) -> list[Handed]:
    """Return what the events carry.

    Raises:
        InputError: there are none, or one is not what a night hands over.
    """
    try:
        found = [_handed(event) for event in json.loads(events)]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the events cannot be read: {error}", field="--events", value=events,
            rule="a JSON list of what finish gave", cure="let nightly_retrain wake the DAG",
        ) from error  # fmt: skip
    if not found:
        raise InputError(
            "no package woke this run", field="--events", rule="at least one event of the asset rporec_package",
            cure="let nightly_retrain wake the DAG, or make promote by hand",
        )  # fmt: skip
    return found


def _handed(event: Mapping[str, str]) -> Handed:
    return Handed(str(event["date"]), str(event["package_hash"]))


def choose(handed: Sequence[Handed]) -> tuple[Handed, list[Handed]]:
    """Return the package of the newest night, of one night's several the last, and the others that differ from it."""
    place = max(range(len(handed)), key=lambda at: (handed[at].date, at))
    return handed[place], [one for one in dict.fromkeys(handed) if one != handed[place]]


if __name__ == "__main__":
    main()
