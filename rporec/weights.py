"""Which weights a run is planned for: what lies behind `backbone.name` and `rechead.encoder`, by hash.

DVC sees these parameters as text, and under the same text may lie other weights tomorrow. So the driver writes what it
finds into `backbone.lock.json` and `rechead.lock.json` before the stages run, each a dep of that one stage: with other
weights it runs again, takes nothing from DVC's run cache, and goes on from no checkpoint of theirs.

A folder is its files and their hashes, hidden ones left out; it is read whole by every run. A name on the hub is the
commit that the local cache holds; the hub is not asked. Where the cache holds none, nothing can be told: the name alone
stands for what the stage will load, and that counts as no change, or the run's own download would be one.

Not the loading: `rporec.backbone.source` and `rporec.encode.pretrained`. Light, the driver calls it with nothing to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rporec.config import BackboneParams, RecheadParams
from rporec.errors import InputError
from rporec.files import read_json, sha256_file

# As in rporec.encode.source and rporec.encode.pretrained, which are heavy; a test holds them equal.
_EMBEDDED, _OWNER = "embedded", "sentence-transformers"
_ON_HUB = ("config.json", "modules.json")  # a model has one of them at least


def of_backbone(params: BackboneParams, root: Path) -> dict[str, Any]:
    """Return what lies behind `backbone.name`: kind, and name and checksum of each file, or the commit.

    Args:
        params: section `backbone`.
        root: the folder that a relative name counts from.

    Raises:
        InputError: a file cannot be read.
    """
    return {"kind": _EMBEDDED} if params.name is None else _describe("backbone.name", params.name, params.name, root)


def of_encoder(params: RecheadParams, root: Path) -> dict[str, Any]:
    """Return what lies behind `rechead.encoder`, as `of_backbone` does."""
    if params.encoder == _EMBEDDED:
        return {"kind": _EMBEDDED}
    on_hub = params.encoder if "/" in params.encoder else f"{_OWNER}/{params.encoder}"
    return _describe("rechead.encoder", params.encoder, on_hub, root)


def same(found: dict[str, Any], planned: dict[str, Any]) -> bool:
    """Whether two descriptions may be of the same weights; a commit that is not known is no difference."""
    known = "commit" in found and "commit" in planned
    left, right = ({key: one[key] for key in one if known or key != "commit"} for one in (found, planned))
    return left == right


def require(found: dict[str, Any], lock: Path, field: str) -> None:
    """Refuse weights that are not those that the run was planned for; without a lock file nothing was planned.

    Args:
        found: what `of_backbone` or `of_encoder` says now.
        lock: the file that holds what it said when the run was planned.
        field: the parameter that names them, `section.key`.

    Raises:
        InputError: they differ.
    """
    if lock.is_file() and not same(found, read_json(lock)):
        raise InputError(
            "the weights are not those that this run was planned for",
            file=lock, field=field, rule="the files and hashes, or the commit, in that file",
            cure="they or the parameter changed meanwhile: make run plans anew (with the same SET=, if there was one)",
        )  # fmt: skip


def _describe(field: str, name: str, on_hub: str, root: Path) -> dict[str, Any]:
    folder = root / name
    if folder.exists():
        return {"kind": "folder", "files": _checksums(field, folder)}
    commit = _cached(on_hub)
    return {"kind": "name", "name": name} | ({} if commit is None else {"commit": commit})


def _checksums(field: str, folder: Path) -> list[dict[str, str]]:
    found = []
    try:
        for file in sorted(folder.rglob("*")):
            parts = file.relative_to(folder).parts
            # Hidden: what downloads and git keep beside a model, with times in it.
            if file.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
                found.append({"name": "/".join(parts), "sha256": sha256_file(file)})
    except PermissionError as error:
        raise InputError(
            f"a file of the model cannot be read: {error.strerror}",
            file=error.filename, field=field, cure="give this user a readable folder",
        ) from error  # fmt: skip
    return found


def _cached(name: str) -> str | None:
    """Return the commit of a name that HF_HOME holds as the newest, None where it holds none."""
    from huggingface_hub import try_to_load_from_cache  # the import takes a while, and most runs have no name
    from huggingface_hub.errors import HFValidationError

    try:
        places = [try_to_load_from_cache(name, file) for file in _ON_HUB]
    except HFValidationError:  # no name at all, or a folder that is gone: the loader says so
        return None
    return next((Path(place).parent.name for place in places if isinstance(place, str)), None)
