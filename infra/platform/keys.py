"""Airflow's password and keys: from the environment where they are given, else made once and kept for the owner alone.

Kept, since connections in Airflow's database are encrypted with one of them. Nothing else of ours keeps a secret.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from rporec.files import write_text

PASSWORDS = "passwords.json"
_KEYS = "keys.json"
_NAMES = {
    "AIRFLOW_FERNET_KEY": "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW_API_SECRET_KEY": "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW_JWT_SECRET": "AIRFLOW__API_AUTH__JWT_SECRET",
}


def make(folder: Path, environment: Mapping[str, str]) -> None:
    """Write what is not there yet: Airflow's password file, and the keys that the environment does not give."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    given = environment.get("AIRFLOW_PASSWORD")
    if given or not (folder / PASSWORDS).exists():
        _write(folder / PASSWORDS, {"admin": given or secrets.token_urlsafe(18)})
    if not (folder / _KEYS).exists():
        fresh = {name: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for name in _NAMES}
        _write(folder / _KEYS, fresh)


def variables(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return Airflow's settings that hold a key."""
    kept = json.loads((folder / _KEYS).read_text(encoding="utf-8"))
    return {setting: environment.get(name) or kept[name] for name, setting in _NAMES.items()}


def _write(path: Path, content: dict[str, str]) -> None:
    before = os.umask(0o077)
    try:
        write_text(path, json.dumps(content) + "\n")
    finally:
        os.umask(before)
