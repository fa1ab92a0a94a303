"""What a file of a package may hold, judged by its bytes: the formats are known by their own marks, text is text.

Names prove nothing: a pickle may be called card.md. Not a virus scanner: only kinds that loading never executes get in.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from pickletools import dis, genops  # they read a pickle and run nothing of it

TEXT_SUFFIXES = frozenset({".json", ".txt", ".md", ".html", ".csv", ".jinja"})
SUFFIXES = TEXT_SUFFIXES | {".safetensors", ".parquet"}
_UNREADABLE = (ValueError, RecursionError)  # what JSON's reader raises; the second for brackets without end
_LEAST_OPCODES = 3  # "N." is a pickle of None, and the beginning of many a sentence


def fits_its_suffix(path: Path) -> bool:
    """Whether a file is of a kind that a package may hold, and its bytes are of the kind that its name says."""
    if path.suffix == ".safetensors":
        return _is_safetensors(path)
    if path.suffix == ".parquet":
        return _is_parquet(path)
    if path.suffix not in TEXT_SUFFIXES:
        return False
    content = path.read_bytes()
    return _is_text(content) and (path.suffix != ".json" or _is_json(content))


def is_pickle(content: bytes) -> bool:
    """Whether bytes begin with a pickle of protocol 0 to 5 that does more than name one constant."""
    if content[:1] == b"\x80":
        return True
    opcodes = 0
    try:
        for _ in genops(content):
            opcodes += 1
        dis(content, out=io.StringIO())  # the stack too: "2. Then" is a DUP and a STOP, but of nothing
    except (ValueError, IndexError, KeyError):
        return False
    return opcodes >= _LEAST_OPCODES


def _is_safetensors(path: Path) -> bool:
    # Eight bytes that tell the length of a JSON header, the header, then numbers.
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= path.stat().st_size - 8:
            return False
        try:
            return isinstance(json.loads(stream.read(length)), dict)
        except _UNREADABLE:
            return False


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        begins = stream.read(4)
        stream.seek(-4, io.SEEK_END) if path.stat().st_size >= 8 else stream.seek(0)
        return begins == stream.read(4) == b"PAR1"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except _UNREADABLE:
        return False
    return True


def _is_text(content: bytes) -> bool:
    """Whether bytes are UTF-8 without the control characters that every archive and every binary pickle holds."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not any(content.find(bytes([byte])) >= 0 for byte in range(9)) and not is_pickle(content)
