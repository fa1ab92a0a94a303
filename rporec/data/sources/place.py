"""DATA as a place: a path of this machine, an object store's URL or a database's URL. Nothing is opened here.

A database's URL may hold a password: it is handed on by the environment alone, and what people read is `shown`.
"""

from __future__ import annotations

import re
from pathlib import Path

from rporec.data.sources.layout import is_remote
from rporec.errors import InputError

# Schemes of files; of these only s3 can be read, and the others are refused as what they are, not as databases.
_FILES = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "az", "abfs", "abfss", "hf", "hdfs", "http", "https", "file"})
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>[^?]+)(?P<options>.*)", re.DOTALL)
_NO_URL = re.compile(r"[a-z0-9]+(\+[a-z0-9]+)?:/*[^/]*:[^/]*@", re.IGNORECASE)  # postgresql:/user:password@host


def resolve(data: str, folder: Path) -> str | None:
    """Return DATA as a place that means the same in every folder; None for nothing.

    Args:
        data: what the user gave: a path, a URL, or nothing.
        folder: what a relative path counts from; so does the path of sqlite:///shop.db.

    Raises:
        InputError: something like a URL with a password that is none.
    """
    if not data:
        return None
    if is_remote(data):
        found = _SQLITE.fullmatch(data)
        if found is None or found["path"].startswith((":memory:", "file:")):
            return data
        return f"{found['scheme']}{(folder / found['path']).resolve()}{found['options']}"
    if _NO_URL.match(data):  # as a path it would be shown, password and all
        raise InputError(
            "DATA is neither a path nor a URL",
            field="DATA", rule="scheme://user:password@host/database", cure="write :// after the scheme",
        )  # fmt: skip
    return str((folder / Path(data).expanduser()).resolve())


def is_database(place: str) -> bool:
    """Whether a place is a database's URL."""
    return is_remote(place) and place.partition("://")[0].lower() not in _FILES


def local(place: str | None) -> Path | None:
    """Return the file or folder of this machine that a place is, or None."""
    if place is None or not is_remote(place):
        return None if place is None else Path(place)
    found = _SQLITE.fullmatch(place)
    return None if found is None else Path(found["path"])


def shown(place: str) -> str:
    """Return a place as people may read it: of a URL no user, no password, no options."""
    if not is_remote(place):
        return place
    scheme, _, rest = place.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def require_fit(source: str, place: str | None) -> None:
    """Refuse a place that the source cannot read.

    Args:
        source: ingest.source.
        place: what DATA= gave.

    Raises:
        InputError: a database for a source of files, files for source sql, or any place for the market.
    """
    if place is None or (source != "market" and is_database(place) == (source == "sql")):
        return
    rules = {
        "market": ("the market reads no data", "leave DATA out, or leave ingest.source to DATA"),
        "sql": (
            "source sql reads a database",
            "give a URL (sqlite:////path/to/file.db, postgresql+psycopg://user:password@host/database), "
            "or set ingest.source=folder for files",
        ),
    }
    of_files = (f"source {source} reads files", "give a path (or s3://...), or set ingest.source=sql for a database")
    rule, cure = rules.get(source, of_files)
    raise InputError(
        "DATA does not fit the source", file=shown(place), field="ingest.source", value=source, rule=rule, cure=cure
    )  # fmt: skip
