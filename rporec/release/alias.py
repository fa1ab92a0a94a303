"""Sets and removes one alias: on an sqlite registry by the row that MLflow itself would write, else by its client.

MLflow takes seconds to import, several times that on a busy machine, and a rollback is for emergencies. The tests hold
that MLflow reads what is written here. What an alias means, and the audit, are `moves`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from rporec.errors import InputError
from rporec.release import lookup
from rporec.release.lookup import THERE
from rporec.release.place import Place, client

_LOCK_SECONDS = 30.0
_REMOVE = "DELETE FROM registered_model_aliases WHERE name = :model AND alias = :alias"
_SET = (
    "INSERT INTO registered_model_aliases (name, alias, version) "
    f"SELECT v.name, :alias, v.version FROM model_versions v WHERE v.name = :model AND v.version = :number AND {THERE}"
)


def put(place: Place, model: str, alias: str, number: int | None) -> None:
    """Point an alias at a version, or remove it for None.

    Raises:
        InputError: there is no such version.
    """
    file = lookup.sqlite_file(place.uri)
    if file is not None:
        _put_row(file, {"model": model, "alias": alias, "number": number})
    elif number is None:
        client(place).delete_registered_model_alias(model, alias)
    else:
        client(place).set_registered_model_alias(model, alias, str(number))


def _put_row(file: Path, values: dict[str, str | int | None]) -> None:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=_LOCK_SECONDS)) as database, database:
        database.execute(_REMOVE, values)
        if values["number"] is not None and database.execute(_SET, values).rowcount != 1:
            raise InputError(
                f"{values['model']} has no version {values['number']}",
                file=file, field="version", value=values["number"], rule="a registered version",
                cure="make versions lists them",
            )  # fmt: skip
