"""The registry for people: its versions and its audit as tables of text. Reads only; see `moves` for what moves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rporec.release import audit, lookup
from rporec.release.audit_row import Row, rolled_back
from rporec.release.lookup import Version
from rporec.release.place import Place, client

_NDCG = "rporec.ndcg_at_10"
_PAGE = 200  # versions that MLflow is asked for at a time
_DIGITS = 12  # of a hash
_NONE = "-"


@dataclass(frozen=True)
class Listed:
    """A version as it is listed.

    Args:
        version: what the registry says of it.
        aliases: that point at it now.
        when: UTC, ISO 8601, when it was registered.
        ndcg: NDCG@10 on test, None where its run is gone.
        taken_back: the row of the rollback that took it from users, None where none did or it was brought back.
    """

    version: Version
    aliases: tuple[str, ...]
    when: str
    ndcg: float | None
    taken_back: Row | None


def versions(place: Place, model: str) -> list[Listed]:
    """Return all versions of a model, newest first."""
    mlflow_client, taken = client(place), rolled_back(audit.rows(place.audit, model))
    held = {alias: lookup.by_alias(place.uri, model, alias) for alias in lookup.ALIASES}
    found: list[Listed] = []
    token: str | None = None
    while True:
        page = mlflow_client.search_model_versions(f"name = '{model}'", max_results=_PAGE, page_token=token)
        for stated in page:
            version = lookup.from_mlflow(stated)
            names = tuple(alias for alias, at in held.items() if at is not None and at.number == version.number)
            moment = dt.datetime.fromtimestamp(stated.creation_timestamp / 1000, dt.UTC)
            ndcg = _ndcg(mlflow_client, version)
            row = taken.get(version.number)
            found.append(Listed(version, names, moment.isoformat(timespec="seconds"), ndcg, row))
        token = page.token
        if not token:
            return sorted(found, key=lambda one: one.version.number, reverse=True)


def versions_table(listed: Sequence[Listed]) -> str:
    """Return versions as text, one a line."""
    head = ("version", "aliases", "registered", "NDCG@10", "verdict", "commit", "note")
    return _table(head, [_version_line(one) for one in listed])


def audit_table(rows: Sequence[Row]) -> str:
    """Return rows of the audit as text, one a line, in their order."""
    head = ("when", "who", "act", "alias", "from", "to", "verdict", "reason")
    return _table(head, [_audit_line(row) for row in rows])


def _version_line(one: Listed) -> tuple[str, ...]:
    tags, row = one.version.tags, one.taken_back
    return (
        str(one.version.number),
        ", ".join(one.aliases) or _NONE,
        one.when,
        _NONE if one.ndcg is None else f"{one.ndcg:.4f}",
        tags.get("verdict", _NONE),
        _short(tags.get("git_commit", "")),
        "" if row is None else f"rolled back {row.when} by {row.who}: {row.reason}",
    )


def _audit_line(row: Row) -> tuple[str, ...]:
    numbers = [_NONE if number is None else str(number) for number in (row.from_version, row.to_version)]
    return (row.when, row.who, row.act, row.alias, *numbers, _short(row.verdict_hash), row.reason)


def _ndcg(mlflow_client: Any, version: Version) -> float | None:  # noqa: ANN401 - MLflow ships no types
    from mlflow.exceptions import MlflowException

    if not version.run_id:
        return None
    try:
        value = mlflow_client.get_run(version.run_id).data.metrics.get(_NDCG)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return None if value is None else float(value)


def _short(digest: str) -> str:
    """Shorten a hash; that a commit is dirty stays."""
    name, mark, rest = digest.partition("-")
    return f"{name[:_DIGITS]}{mark}{rest}" or _NONE


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    # What people wrote (a reason) is one line here, whatever it holds.
    cells = [head, *([" ".join(cell.split()) for cell in line] for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    rendered = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in rendered) + "\n"
