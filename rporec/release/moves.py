"""Moving aliases: intents in the audit, then the aliases, then that it is done; and the mending after a kill.

The first alias of an act decides it: where that one has moved the rest follows, where it has not nothing happened.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rporec.release import alias, audit, lookup
from rporec.release.audit_row import Act, Row
from rporec.release.lookup import ALIASES
from rporec.release.place import Place

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cause:
    """Why aliases move: the act, the user who acts, the SHA-256 of the verdict that allows it ("" = none), in words."""

    act: Act
    who: str
    verdict_hash: str
    reason: str


def aliases(place: Place, model: str) -> dict[str, int | None]:
    """Return the version number that each alias points at, None = not set."""
    found = {name: lookup.by_alias(place.uri, model, name) for name in ALIASES}
    return {name: version.number if version else None for name, version in found.items()}


def carry_out(place: Place, model: str, cause: Cause, wanted: Mapping[str, int | None]) -> None:
    """Move aliases, audited. The caller holds the registry's lock and has reconciled.

    Args:
        place: the registry; MLflow has made it.
        model: registered name.
        cause: why.
        wanted: alias to version number, None = to be removed; the one that decides comes first.
    """
    audit.ready(place.audit)
    now, name = aliases(place, model), uuid.uuid4().hex
    changes = [
        _row(model, cause, which, (now[which], number), name)
        for which, number in wanted.items()
        if now[which] != number
    ]
    audit.intend(place.audit, changes)
    _apply(place, changes)
    audit.close(place.audit, changes, "done")


def reconcile(place: Place, model: str, who: str) -> None:
    """Bring audit and aliases together after a kill, and note what was moved by other means.

    The caller holds the registry's lock. Every command that moves or tells of versions begins with this.
    """
    if not audit.ready(place.audit):
        return
    for changes in audit.open_moves(place.audit, model):
        first, now = changes[0], aliases(place, model)
        carried = now[first.alias] == first.to_version
        if carried:
            _apply(place, [row for row in changes if now[row.alias] != row.to_version])
        audit.close(place.audit, changes, "done" if carried else "dropped")
        told = "completed" if carried else "it had moved nothing and is dropped"
        log.warning("%s of %s by %s was cut off; %s", first.act, model, first.who, told)
    _note_found(place, model, who)


def _note_found(place: Place, model: str, who: str) -> None:
    """Add a row for every alias that stands elsewhere than its last row says."""
    last = {row.alias: row.to_version for row in audit.rows(place.audit, model)}
    cause = Cause("found", who, "", "reconciled: the alias had been moved by other means, without a row")
    now, name = aliases(place, model), uuid.uuid4().hex
    found = [
        _row(model, cause, which, (last.get(which), number), name)
        for which, number in now.items()
        if last.get(which) != number
    ]
    for row in found:
        log.warning("the audit lacked the move of %s of %s to version %s; added", row.alias, model, row.to_version)
    if found:
        audit.close(place.audit, found, "done")


def _row(model: str, cause: Cause, which: str, versions: tuple[int | None, int | None], name: str) -> Row:
    when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Row(when, cause.who, model, which, *versions, cause.verdict_hash, cause.reason, cause.act, name)


def _apply(place: Place, changes: Sequence[Row]) -> None:
    for row in changes:
        alias.put(place, row.model, row.alias, row.to_version)
