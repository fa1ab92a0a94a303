"""What a source is, for source.lock.json: its kind and a checksum of each file. No path, no time, no secret.

Light on purpose: the run driver calls `describe` on its no-op path.
"""

from __future__ import annotations

from pathlib import Path

from rporec.config import IngestParams
from rporec.data.sources.layout import DataFile, find_layout, is_remote
from rporec.errors import InputError
from rporec.files import sha256_file


def describe(params: IngestParams, place: str | None) -> dict[str, object]:
    """Return a source's identity: kind, and name and checksum of each file, sorted by name.

    Args:
        params: section `ingest`.
        place: what DATA= gave: a folder, a zip file, an s3:// or a database URL; None for the market.

    Raises:
        InputError: the place is missing, empty, unreadable or of no known layout.
    """
    kind = params.source
    if kind == "market":
        return {"kind": kind, "files": []}
    if kind == "sql":
        from rporec.data.sources import sql

        return {"kind": kind, "files": [], "tables": sql.fingerprint(params, place)}
    return {"kind": kind, "files": [_checksum(file) for file in files(params, place)]}


def require(found: dict[str, object], wanted: dict[str, object], lock: Path) -> None:
    """Refuse a source that is not the one that the run was planned for.

    Args:
        found: what `describe` says now.
        wanted: what it said when the run was planned.
        lock: the file that holds `wanted`, for the message.

    Raises:
        InputError: they differ; the first difference is named.
    """
    if found == wanted:
        return
    changed = next(key for key in (*wanted, *found) if found.get(key) != wanted.get(key))
    raise InputError(
        "the source is not the one that this run was planned for",
        file=lock, field=changed, value=found.get(changed), rule=f"must be {str(wanted.get(changed))[:200]}",
        cure="it changed meanwhile, or DATA= names another one: run make run again",
    )  # fmt: skip


def files(params: IngestParams, place: str | None) -> list[DataFile]:
    """Return the files of a source that has files, sorted by name."""
    if params.source == "folder":
        return find_layout(place).files()
    from rporec.data.sources import published

    # The test file of the official split takes no part in the development one, its bytes neither.
    split = params.minionerec_split if params.source == "minionerec" else None
    return published.find(params.source, place, split).files()


def _checksum(file: DataFile) -> dict[str, object]:
    if is_remote(file.url):
        from rporec.data.sources import remote

        return {"name": file.name, **remote.checksum(file.url)}
    try:
        return {"name": file.name, "sha256": sha256_file(file.url)}
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(
            f"the data file cannot be read: {error.strerror}", file=file.url, cure="give this user a readable file"
        ) from error
