"""params.yaml <- profiles/<profile>.yaml <- SET: merged, and checked by the one schema.

A profile may stand on others: `extends: [online_retail, nightly]` lays their differences below its own, the first one
lowest. An error names the layer that the offending value came from.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from rporec import config
from rporec.data.sources.place import is_database, require_fit
from rporec.errors import InputError

EXTENDS = "extends"  # the one key of a profile that is no section


def merge(checkout: Path, profile: str, settings: str, place: str | None) -> tuple[dict[str, Any], config.Params]:
    """Return what changes in params.yaml and the merged, checked parameters.

    Args:
        checkout: where params.yaml and profiles/ lie.
        profile: a name in profiles/, or `demo`, which is params.yaml itself.
        settings: `a.b=c d.e=f`.
        place: where data lies, if given; a profile made for the market reads it instead.

    Raises:
        InputError: unknown profile or key, a value that breaks its rule, or a place that does not fit the source.
    """
    base_file = checkout / "params.yaml"
    config.load(base_file)
    base = read(base_file)
    chosen = _profile(checkout, profile)
    given = parse_settings(settings)
    implied = _implied(place, combine(base, chosen)["ingest"]["source"])
    layers = [(f"profiles/{profile}.yaml", chosen), ("DATA", implied), ("SET", given)]
    merged: dict[str, Any] = {}
    for _, layer in layers:
        merged = combine(merged, layer)
    whole = combine(base, merged)
    try:
        params = config.parse(whole, "params.yaml")
    except InputError as error:
        origin = _origin(error.field or "", layers)
        raise InputError(
            error.problem, file=origin, field=error.field, value=error.value, rule=error.rule, cure=error.cure
        ) from None
    if params.run.profile != profile:
        raise InputError(
            "run.profile is not the name of the profile",
            file=_origin("run.profile", layers),
            field="run.profile",
            value=params.run.profile,
            rule=f"must be {profile}",
            cure="write the new values into profiles/<name>.yaml and give PROFILE=<name>",
        )
    require_fit(params.ingest.source, place)
    return merged, params


def _implied(place: str | None, source: str) -> dict[str, Any]:
    """Return what a place changes by itself: a profile that names a source of its own keeps it."""
    if place is None or source != "market":
        return {}
    return {
        "ingest": {"source": "sql" if is_database(place) else "folder", "as_of": None},
        "package": {"data_terms": "as stated by the owner of the data"},
    }


def apply(base: Path, changes: dict[str, Any]) -> str:
    """Return the text of a params.yaml with the changes in it, comments kept."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    document = editor.load(base.read_text(encoding="utf-8"))
    _put(document, changes)
    stream = io.StringIO()
    editor.dump(document, stream)
    return stream.getvalue()


def combine(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, mapping by mapping; other values are replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = combine(merged[key], value) if both else value
    return merged


def parse_settings(text: str) -> dict[str, Any]:
    """Return SET as nested sections.

    Args:
        text: `a.b=c d.e=f`, values in YAML, quotes as in a shell.

    Raises:
        InputError: a part is not `section.key=value`.
    """
    nested: dict[str, Any] = {}
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise InputError(f"SET cannot be read: {error}", field="SET", value=text, cure="close the quote") from None
    for part in parts:
        path, equals, value = part.partition("=")
        keys = path.split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise InputError(
                "SET holds something that is not section.key=value",
                field="SET",
                value=part,
                cure='write SET="align.steps=50 run.seed=1"',
            )
        try:
            leaf = config.read_yaml(value)
        except yaml.YAMLError:
            raise InputError("a value in SET is not YAML", field=path, value=value, cure="quote the value") from None
        for key in reversed(keys):
            leaf = {key: leaf}
        nested = combine(nested, leaf)
    return nested


def _profile(checkout: Path, name: str) -> dict[str, Any]:
    names = sorted({"demo", *(path.stem for path in (checkout / "profiles").glob("*.yaml"))})
    if name not in names:
        raise InputError(
            "the profile does not exist",
            file=checkout / "profiles",
            field="PROFILE",
            value=name,
            rule=f"one of {', '.join(names)}",
            cure="choose one of them, or add profiles/<name>.yaml with the differences",
        )
    return {} if name == "demo" else differences(checkout, name)


def differences(checkout: Path, name: str) -> dict[str, Any]:
    """Return what a profile changes in params.yaml, with what the profiles change that it extends.

    Args:
        checkout: where profiles/ lies.
        name: a file there; those that it extends may extend none themselves.

    Raises:
        InputError: a file is missing or no YAML mapping, or `extends` is no list of names.
    """
    file = checkout / "profiles" / f"{name}.yaml"
    own = read(file)
    below = own.pop(EXTENDS, [])
    known = {path.stem for path in (checkout / "profiles").glob("*.yaml")} - {name}
    merged: dict[str, Any] = {}
    for base in below if isinstance(below, list) else [below]:
        named = isinstance(base, str) and base in known
        layer = read(checkout / "profiles" / f"{base}.yaml") if named else None
        if layer is None or EXTENDS in layer:
            raise InputError(
                "a profile cannot be extended",
                file=file, field=EXTENDS, value=base, rule="a list of other profiles that extend none themselves",
                cure=f"name some of {', '.join(sorted(known))}",
            )  # fmt: skip
        merged = combine(merged, layer)
    return combine(merged, own)


def read(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file, unchecked.

    Raises:
        InputError: it is not YAML, or no mapping.
    """
    try:
        raw = config.read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"the file is not YAML: {error}", file=path, cure="mend the line named above") from None
    if not isinstance(raw, dict):
        raise InputError("the file is not a mapping of sections", file=path, cure="see params.yaml for the form")
    return raw


def _put(document: MutableMapping[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _put(document[key], value)
        else:
            document[key] = value


def _origin(field: str, layers: list[tuple[str, dict[str, Any]]]) -> str:
    """Name the last layer that sets `field` or something around or below it; params.yaml when none does."""
    return next((name for name, layer in reversed(layers) if _touches(layer, field.split("."))), "params.yaml")


def _touches(layer: dict[str, Any], keys: list[str]) -> bool:
    node: Any = layer
    for key in keys:
        if not isinstance(node, dict):
            return True
        if key not in node:
            return False
        node = node[key]
    return True
