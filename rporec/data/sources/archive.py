"""Files that come packed: lines of a gzip file as a stream, members of a zip file unpacked under our own names.

Neither trusts what a packed file says of itself: names, sizes and checksums are checked, amounts are bounded.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rporec.errors import InputError

MAX_LINE = 64 << 20  # bytes; the longest published lines are well below 1 MiB
MAX_UNPACKED = 8 << 30  # bytes of all members together; ml-32m has about 0.9 GiB
MAX_RATIO, RATIO_FROM = 200, 100 << 20  # unpacked to packed bytes, looked at from so many unpacked bytes on
_CHUNK = 1 << 20
_READ = 1 << 16  # bytes read ahead; what lies in them is lost to a break, so it is small
_GZIP = b"\x1f\x8b"
_AGAIN = "it may be cut off or corrupt: download it again and compare its size with the published one"


def lines(path: str) -> Iterator[bytes]:
    """Yield the lines of a plain or gzip file without their ends; memory holds one line.

    Raises:
        InputError: the file cannot be read, is no whole gzip file, or has a line longer than MAX_LINE.
    """
    number = 0
    try:
        with _opened(path) as stream:
            while line := stream.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise InputError(
                        "a line is too long to be data",
                        file=path, field=f"line {number}", value=line[:80], rule=f"at most {MAX_LINE} bytes a line",
                        cure="is it one JSON object a line? download the file again",
                    )  # fmt: skip
                yield line.rstrip(b"\r\n")
                number += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"the gzip file cannot be read to its end: {error}",
            file=path, value=f"{number} lines were read", rule="a whole gzip file", cure=_AGAIN,
        ) from error  # fmt: skip
    except OSError as error:
        raise InputError(
            f"the data file cannot be read: {error.strerror or error}",
            file=path, value=f"{number} lines were read", cure="give this user a readable file",
        ) from error  # fmt: skip


def _opened(path: str) -> IO[bytes]:
    """Open a file by what it is rather than by its name alone: some tools unpack a file and keep its name."""
    with Path(path).open("rb") as stream:
        head = stream.read(len(_GZIP))
    if head == _GZIP or path.endswith(".gz"):
        return io.BufferedReader(gzip.open(path, "rb"), _READ)
    return Path(path).open("rb", buffering=_READ)


def members(path: str) -> list[str]:
    """Return the names of a zip file's members, sorted, after all of them have been looked at.

    Raises:
        InputError: it is no whole zip file, or it holds names, links or sizes that no published file has.
    """
    with _archive(path) as archive:
        return sorted(entry.filename for entry in _checked(path, archive) if not entry.is_dir())


def unpack(path: str, wanted: dict[str, str], scratch: Path) -> dict[str, Path]:
    """Unpack some members of a zip file.

    Args:
        path: a zip file.
        wanted: our own file name → member.
        scratch: the folder to unpack into.

    Returns:
        Our own file name → the unpacked file.

    Raises:
        InputError: as in `members`, or a member is broken or has more bytes than it says.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with _archive(path) as archive:
        entries = {entry.filename: entry for entry in _checked(path, archive)}
        left = MAX_UNPACKED
        for name, member in wanted.items():
            left -= _copy(path, archive, entries[member], scratch / name, left)
    return {name: scratch / name for name in wanted}


def _archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"the zip file cannot be read: {error}", file=path, rule="a whole zip file", cure=_AGAIN
        ) from error


def _checked(path: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    seen: set[str] = set()
    for entry in entries:
        if rule := _broken_rule(entry, seen):
            raise InputError(
                "the zip file holds a member that no published file has",
                file=path, field=entry.filename, rule=rule, cure="download it from its publisher",
            )  # fmt: skip
        seen.add(entry.filename)
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise InputError(
            "the zip file is too large when unpacked",
            file=path, value=sum(entry.file_size for entry in entries), rule=f"at most {MAX_UNPACKED} bytes",
            cure="unpack it yourself and give the folder: make run DATA=<folder>",
        )  # fmt: skip
    return entries


def _broken_rule(entry: zipfile.ZipInfo, seen: set[str]) -> str | None:
    """Return the rule that a member breaks, or None."""
    # orig_filename: zipfile cuts a name at a NUL and turns the system's own separator into /.
    name = entry.orig_filename.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name or ".." in name.split("/"):
        return "a relative name that stays inside its folder"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "no links"
    if entry.filename in seen:
        return "one member a name"
    if entry.flag_bits & 1:
        return "no password"
    if entry.file_size > RATIO_FROM and entry.file_size > MAX_RATIO * entry.compress_size:
        return f"at most {MAX_RATIO} unpacked bytes for one packed"
    return None


def _copy(path: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Unpack one member and return its bytes; the size it declares is a bound, never a promise."""
    written, bound = 0, min(entry.file_size, left)
    try:
        with archive.open(entry) as packed, target.open("wb") as plain:
            while chunk := packed.read(_CHUNK):
                written += len(chunk)
                if written > bound:
                    raise zipfile.BadZipFile(f"it has more than {bound} bytes")
                plain.write(chunk)
        if written != entry.file_size:
            raise zipfile.BadZipFile(f"it has {written} bytes instead of {entry.file_size}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        target.unlink(missing_ok=True)
        raise InputError(
            f"a member of the zip file cannot be unpacked: {error}",
            file=path, field=entry.filename, rule="a whole member, and room for it on disk", cure=_AGAIN,
        ) from error  # fmt: skip
    return written
