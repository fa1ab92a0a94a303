"""The manifest of a package: which files, how long, with which hash; and the refusal of everything else.

Not a signature: a manifest says that a folder is whole, not who made it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rporec.errors import InputError
from rporec.files import read_json, sha256_file, write_json

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1
TEXT_SUFFIXES = frozenset({".json", ".txt", ".md", ".csv", ".jinja"})
SUFFIXES = TEXT_SUFFIXES | {".safetensors", ".parquet"}
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
class Manifest:
    """All files of a package but the manifest itself, sorted by path, and the hash that names the package."""

    files: tuple[Entry, ...]
    package_hash: str


def package_hash(files: tuple[Entry, ...]) -> str:
    """Return the SHA-256 over the schema version and the sorted entries: the package's name, hexadecimal."""
    stated = {"schema_version": SCHEMA_VERSION, "files": [asdict(entry) for entry in _sorted(files)]}
    return hashlib.sha256(json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(folder: Path) -> Manifest:
    """Hash every file below `folder` and write its manifest.

    Raises:
        InputError: a file is a link, or of a kind that a package may not hold.
    """
    entries = tuple(_entry(folder, path) for path in _listed(folder))
    manifest = Manifest(_sorted(entries), package_hash(entries))
    write_json(
        folder / FILE_NAME,
        {
            "schema_version": SCHEMA_VERSION,
            "package_hash": manifest.package_hash,
            "files": [asdict(entry) for entry in manifest.files],
        },
    )
    return manifest


def read(folder: Path) -> Manifest:
    """Read a package's manifest without looking at the files that it names.

    Raises:
        InputError: it is absent, not readable, of another schema version, or its hash is not that of its entries.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise InputError("the package has no manifest", file=path, cure=_CURE)
    try:
        stated = read_json(path)
        version = stated["schema_version"]
        files = tuple(Entry(str(e["path"]), int(e["size"]), str(e["sha256"])) for e in stated["files"])
        name = str(stated["package_hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the manifest cannot be read: {error}", file=path, cure=_CURE) from error
    if version != SCHEMA_VERSION:
        raise InputError(
            "the manifest has another schema version",
            file=path, field="schema_version", value=version, rule=f"must be {SCHEMA_VERSION}", cure=_CURE,
        )  # fmt: skip
    if name != package_hash(files):
        raise InputError(
            "the manifest was changed",
            file=path, field="package_hash", value=name, rule="is the hash of the entries", cure=_CURE,
        )  # fmt: skip
    return Manifest(files, name)


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
        if path.is_file() and (path.suffix not in SUFFIXES or not _looks_like_its_suffix(path)):
            raise InputError(
                "the package holds a file of a kind that it may not hold",
                file=path, rule=f"{', '.join(sorted(SUFFIXES))} with such content; never a pickle", cure=_CURE,
            )  # fmt: skip
    return [path for path in paths if path.is_file()]


def _looks_like_its_suffix(path: Path) -> bool:
    # A pickle under an innocent name must not pass: formats begin with their mark, text holds no control bytes.
    with path.open("rb") as stream:
        head = stream.read(4096)
    if path.suffix == ".parquet":
        return head[:4] == b"PAR1"
    if path.suffix == ".safetensors":
        return head[8:9] == b"{"
    return not any(byte < 9 or (byte == 0x80 and place == 0) for place, byte in enumerate(head))


def _entry(folder: Path, path: Path) -> Entry:
    return Entry(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))


def _sorted(files: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(sorted(files, key=lambda entry: entry.path))
