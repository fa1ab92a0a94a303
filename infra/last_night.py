"""What the newest days of earlier nights looked like: kept in RPOREC_HOME, pinned in the workspace before a run.

A stage hangs on its deps alone, so stage validate reads `last_night.json` (a dep in dvc.yaml, `{}` where there is no
earlier night), and only this file knows where the profiles of other nights lie: `profiles/<run.profile>/<as_of>.json`
in RPOREC_HOME. Runs without `ingest.as_of` are no nights and take no part. Not the comparison: rporec/data/drift.py.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from rporec import config
from rporec.data import profiles
from rporec.days import midnight
from rporec.files import read_json, write_text

NAME = "last_night.json"
log = logging.getLogger("rporec")


def pin(root: Path, home: Path, params: config.Params) -> None:
    """Write `last_night.json` below `root`: the newest kept profile before tonight's `as_of`, or nothing.

    Only an `as_of` strictly earlier counts, so the same night again, and an old night again, find what they found.
    """
    _write(root / NAME, _newest_before(home, params))


def keep(root: Path, home: Path, params: config.Params) -> None:
    """Keep tonight's profile for later nights; one that belongs to another date (validate failed) is left alone."""
    as_of, file = params.ingest.as_of, root / "outputs" / "validate" / "profile.json"
    if as_of is None or not file.exists():
        return
    profile = _parsed(file, None)
    if profile is not None and profile["end"] == midnight(as_of):
        _write(_folder(home, params) / f"{as_of}.json", {"as_of": as_of, "profile": profile})


def _newest_before(home: Path, params: config.Params) -> dict[str, Any]:
    tonight = params.ingest.as_of
    if tonight is None:
        return {}
    earlier = [path for path in _folder(home, params).glob("*.json") if path.stem < tonight]  # ISO dates sort as text
    for path in sorted(earlier, reverse=True):
        profile = _parsed(path, path.stem)
        if profile is not None:
            return {"as_of": path.stem, "profile": profile}
    return {}


def _parsed(path: Path, as_of: str | None) -> dict[str, Any] | None:
    """Return the profile in a file; None, with one warning, where it is damaged.

    Args:
        path: profile.json of the stage, or a kept profile.
        as_of: the date that a kept profile must name; None = the stage's own file.
    """
    try:
        raw = read_json(path)
        if as_of is not None:
            if raw["as_of"] != as_of:
                raise ValueError(f"it is of {raw['as_of']}")
            raw = raw["profile"]
        return profiles.parse(raw).as_json()
    except (ValueError, KeyError, TypeError, OSError) as error:
        log.warning("the profile %s is damaged and left out: %s", path, error)
        return None


def _folder(home: Path, params: config.Params) -> Path:
    return home / "profiles" / params.run.profile


def _write(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)
