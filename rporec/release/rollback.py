"""Rollback: users get an earlier version back, at once and without a judgement, but only one that is whole.

The service follows the alias by itself; see `bento/`. On an sqlite registry MLflow is not even imported.
"""

from __future__ import annotations

from dataclasses import dataclass

from rporec.errors import InputError
from rporec.release import audit, audit_row, lookup, moves, registry
from rporec.release.lock import single_writer
from rporec.release.lookup import CHALLENGER, CHAMPION, PREVIOUS, Version
from rporec.release.place import Place

_LIST = "make versions lists them"


@dataclass(frozen=True)
class Rollback:
    """What a rollback did: the version that serves now, and the number of the one it replaced."""

    version: Version
    replaced: int


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Args:
        to: version number, None = the alias `previous`.
        who: the user who acts.
        reason: in words.
    """

    to: int | None
    who: str
    reason: str


def rollback(place: Place, model: str, wish: Wish, wait_seconds: float) -> Rollback:
    """Make an earlier version the champion; the one that it replaces becomes `previous`.

    Raises:
        InputError: there is no champion, no such version, no `previous` or one that was rolled back itself; the
            version never served, is the champion already or its package is not whole; without a version named, the
            champion changed while this waited; another promotion or rollback runs for longer than `wait_seconds`.
    """
    meant = registry.champion(place, model)
    with single_writer(place.audit, wait_seconds):
        moves.reconcile(place, model, wish.who)
        now = registry.champion(place, model)
        if now is None:
            raise InputError(
                "there is no champion to roll back", field="model", value=model, rule="alias champion in the registry",
                cure="make run first, with the same PROFILE",
            )  # fmt: skip
        if wish.to is None:
            _check_meant(meant, now)
        target = _default(place, model) if wish.to is None else _named(place, model, wish.to)
        if target.number == now.number:
            raise InputError(
                f"version {target.number} of {model} is the champion already",
                field="TO", value=target.number, rule="another version than the champion", cure=_LIST,
            )  # fmt: skip
        cause = moves.Cause("rollback", wish.who, target.tags.get("verdict_hash", ""), wish.reason)
        _exchange(place, cause, target, now.number)
        return Rollback(target, now.number)


def bring_back(place: Place, version: Version, who: str, wait_seconds: float) -> None:
    """Make a version that was rolled back the champion again: a person's wish, against the rule of the schedules.

    Raises:
        InputError: its package is not whole, or another promotion or rollback runs for longer than `wait_seconds`.
    """
    with single_writer(place.audit, wait_seconds):
        moves.reconcile(place, version.model, who)
        now = registry.champion(place, version.model)
        if now is None or now.number != version.number:
            reason = "promoted again by hand, though it was rolled back"
            cause = moves.Cause("promote", who, version.tags.get("verdict_hash", ""), reason)
            _exchange(place, cause, version, None if now is None else now.number)


def _exchange(place: Place, cause: moves.Cause, target: Version, replaced: int | None) -> None:
    registry.local_package(place, target)
    wanted: dict[str, int | None] = {CHAMPION: target.number}
    if replaced is not None:
        wanted[PREVIOUS] = replaced
    if moves.aliases(place, target.model)[CHALLENGER] == target.number:
        wanted[CHALLENGER] = None
    moves.carry_out(place, target.model, cause, wanted)


def _check_meant(meant: Version | None, now: Version) -> None:
    """Refuse where a promotion came between: `previous` is then the very version that was to be taken from users."""
    if meant is not None and meant.number != now.number:
        raise InputError(
            f"the champion changed while the rollback waited: it was version {meant.number}",
            field="champion", value=now.number, rule="the champion that stood there when the rollback was asked for",
            cure=f"look at what serves now, then name the version: make rollback TO=<version>; {_LIST}",
        )  # fmt: skip


def _default(place: Place, model: str) -> Version:
    """Return `previous`; after a rollback that is the version which was taken from users, and wants to be named."""
    found = lookup.by_alias(place.uri, model, PREVIOUS)
    if found is None:
        raise InputError(
            f"{model} has no previous version to go back to",
            field="TO", rule="alias previous in the registry", cure=f"name one: make rollback TO=<version>; {_LIST}",
        )  # fmt: skip
    taken = audit_row.rolled_back(audit.rows(place.audit, model)).get(found.number)
    if taken is not None:
        raise InputError(
            f"the previous version, {found.number} of {model}, was itself rolled back by {taken.who} on {taken.when}",
            field="TO", value=found.number, rule="such a version comes back only by its number",
            cure=f"name one: make rollback TO=<version>; {_LIST}",
        )  # fmt: skip
    return found


def _named(place: Place, model: str, number: int) -> Version:
    found = lookup.by_number(place.uri, model, number)
    if found is None:
        raise InputError(
            f"{model} has no version {number}", field="TO", value=number, rule="a registered version", cure=_LIST
        )
    if found.tags.get("verdict") != "pass":
        raise InputError(
            f"version {number} of {model} never passed its gates",
            field="TO", value=number, rule="its tag `verdict` is pass", cure=_LIST,
        )  # fmt: skip
    if number not in audit_row.served(audit.rows(place.audit, model)):
        raise InputError(
            f"version {number} of {model} never served",
            field="TO", value=number, rule="a version that was the champion",
            cure=f"only a promotion gives users a version for the first time: make gate, then make promote; {_LIST}",
        )  # fmt: skip
    return found
