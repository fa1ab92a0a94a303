"""The manifest of a package: which files, how long, with which hash; and the refusal of everything else.

A manifest says that a folder is whole, not who made it: that is its signature, which `rporec.release.signature` makes
and checks.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rporec.errors import InputError
from rporec.files import read_json, sha256_file, write_json
from rporec.release.content import SUFFIXES, fits_its_suffix

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1
_CURE = "take the package from the registry or the DVC cache again, or build it anew (make run)"


@dataclass(frozen=True)
class Entry:
    """One file of a package.

    Args:
        path: relative to the package folder, with forward slashes.
        size: bytes.
        sha256: hash of the bytes, hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Signature:
    """Who vouches for a manifest: the scheme (hmac, ed25519) and the signature's bytes, hexadecimal."""

    scheme: str
    value: str


@dataclass(frozen=True)
class Manifest:
    """All files of a package but the manifest itself, sorted by path.

    Args:
        files: the entries.
        package_hash: the hash that names the package; it covers the entries, not the signature.
        signature: None when the package is unsigned.
    """

    files: tuple[Entry, ...]
    package_hash: str
    signature: Signature | None = None


def package_hash(files: tuple[Entry, ...]) -> str:
    """Return the SHA-256 over the schema version and the sorted entries: the package's name, hexadecimal."""
    stated = {"schema_version": SCHEMA_VERSION, "files": [asdict(entry) for entry in _sorted(files)]}
    return hashlib.sha256(json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(folder: Path, sign: Callable[[str], Signature | None] | None = None) -> Manifest:
    """Hash every file below `folder` and write its manifest.

    Args:
        folder: the package.
        sign: gives the signature of a package hash; None leaves the package unsigned.

    Raises:
        InputError: a file is a link, or of a kind that a package may not hold.
    """
    files = _sorted(tuple(_entry(folder, path) for path in _listed(folder)))
    name = package_hash(files)
    manifest = Manifest(files, name, sign(name) if sign else None)
    stated: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "package_hash": manifest.package_hash,
        "files": [asdict(entry) for entry in manifest.files],
    }
    if manifest.signature is not None:
        stated["signature"] = asdict(manifest.signature)
    write_json(folder / FILE_NAME, stated)
    return manifest


def read(folder: Path) -> Manifest:
    """Read a package's manifest without looking at the files that it names.

    Raises:
        InputError: it is absent, a link, not readable, of another schema version, names a file outside of the package
            or one file twice, or its hash is not that of its entries.
    """
    path = folder / FILE_NAME
    if path.is_symlink() or not path.is_file():
        raise InputError("the package has no manifest", file=path, rule="a plain file", cure=_CURE)
    try:
        stated = read_json(path)
        version = stated["schema_version"]
        files = tuple(Entry(str(e["path"]), int(e["size"]), str(e["sha256"])) for e in stated["files"])
        name = str(stated["package_hash"])
        signed = stated.get("signature")
        signature = None if signed is None else Signature(str(signed["scheme"]), str(signed["value"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"the manifest cannot be read: {error}", file=path, cure=_CURE) from error
    if version != SCHEMA_VERSION:
        raise InputError(
            "the manifest has another schema version",
            file=path, field="schema_version", value=version, rule=f"must be {SCHEMA_VERSION}", cure=_CURE,
        )  # fmt: skip
    _check_paths(path, files)
    if name != package_hash(files):
        raise InputError(
            "the manifest was changed",
            file=path, field="package_hash", value=name, rule="is the hash of the entries", cure=_CURE,
        )  # fmt: skip
    return Manifest(files, name, signature)


def _check_paths(path: Path, files: tuple[Entry, ...]) -> None:
    names = Counter(entry.path for entry in files)
    for name, count in names.items():
        parts = PurePosixPath(name).parts
        plain = name == "/".join(parts) and not {"..", "/"} & set(parts) and "\\" not in name and name != FILE_NAME
        if count > 1 or not plain or not parts:
            raise InputError(
                "the manifest names a file outside of the package, or one twice",
                file=path, field="files", value=name, rule="each file once, as a plain path below the package",
                cure=_CURE,
            )  # fmt: skip


def verify(folder: Path) -> Manifest:
    """Check that a package folder holds exactly the files of its manifest, byte for byte, and no pickle.

    Raises:
        InputError: a file is missing, added, changed, linked, or of a kind that a package may not hold.
    """
    manifest = read(folder)
    found = {path.relative_to(folder).as_posix(): path for path in _listed(folder)}
    stated = {entry.path: entry for entry in manifest.files}
    for problem, names in (
        ("a file of the package is missing", sorted(stated.keys() - found.keys())),
        ("the package holds a file that its manifest does not name", sorted(found.keys() - stated.keys())),
    ):
        if names:
            raise InputError(problem, file=folder / names[0], cure=_CURE)
    for name, path in found.items():
        if _entry(folder, path) != stated[name]:
            raise InputError(
                "a file of the package was changed", file=path, rule="size and SHA-256 as in manifest.json", cure=_CURE
            )
    return manifest


def _listed(folder: Path) -> list[Path]:
    paths = [path for path in sorted(folder.rglob("*")) if path != folder / FILE_NAME]
    for path in paths:
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise InputError("a package holds plain files only", file=path, rule="no links", cure=_CURE)
        if path.is_file() and not fits_its_suffix(path):
            raise InputError(
                "the package holds a file of a kind that it may not hold",
                file=path, rule=f"{', '.join(sorted(SUFFIXES))} with such content; never a pickle", cure=_CURE,
            )  # fmt: skip
    return [path for path in paths if path.is_file()]


def _entry(folder: Path, path: Path) -> Entry:
    return Entry(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))


def _sorted(files: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(sorted(files, key=lambda entry: entry.path))
