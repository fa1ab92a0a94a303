"""Where a version comes from: from the served bytes to verdict, parent champion, commit, parameters and data files.

Every link is checked, not only told: bytes against the manifest, hashes against the version's tags, parameters against
those inside the package, tables against the data hash. Reads only; git is asked by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rporec.config import read_yaml
from rporec.errors import InputError
from rporec.files import read_json, sha256_file
from rporec.release import build, layout, manifest
from rporec.release.kept import Kept
from rporec.release.lookup import Version

State = Literal["verified", "stated", "broken"]


@dataclass(frozen=True)
class Link:
    """One link of the chain.

    Args:
        name: what it is.
        state: `verified` by content, only `stated` (nothing to check it against), or `broken`.
        lines: what is known of it, each short enough for a box.
    """

    name: str
    state: State
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """The lineage of one version; links by the names in `ORDER`."""

    title: str
    links: Mapping[str, Link]

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the links that do not hold."""
        return tuple(name for name in ORDER if self.links[name].state == "broken")


ORDER = (
    "served bytes", "version", "verdict", "parent champion", "commit", "params", "dvc.lock", "data tables",
    "source files",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What the chain is read from.

    Args:
        version: as registered.
        aliases: those that point at it now (champion, previous).
        package: folder of its package.
        kept: artefacts of its run.
        commit: what git says of its commit (hash, date, subject), "" when the repository does not have it.
        parent: the registered version that the verdict was judged against, if it is still there.
        owed_since: date since which the DVC remote lacks outputs of it, None where nothing is known to be lacking.
    """

    version: Version
    aliases: tuple[str, ...]
    package: Path
    kept: Kept
    commit: str
    parent: Version | None
    owed_since: str | None = None


def trace(found: Found) -> Trace:
    """Return the lineage."""
    links = [
        _bytes(found), _version(found), _verdict(found), _parent(found), _commit(found), _params(found), _lock(found),
        _tables(found), _sources(found),
    ]  # fmt: skip
    title = f"version {found.version.number} of {found.version.model}"
    return Trace(title, dict(zip(ORDER, links, strict=True)))


def told(whole: Trace) -> str:
    """Return the lineage as lines a person reads."""
    parts = [f"lineage of {whole.title}"]
    for name in ORDER:
        link = whole.links[name]
        parts += [f"{name} ({link.state})", *(f"  {line}" for line in link.lines)]
    return "\n".join([*parts, f"lineage: {'broken at ' + ', '.join(whole.broken) if whole.broken else 'whole'}"])


def _link(name: str, holds: bool | None, *lines: str) -> Link:
    state: State = "stated" if holds is None else "verified" if holds else "broken"
    return Link(name, state, tuple(line for line in lines if line))


def _bytes(found: Found) -> Link:
    name = found.version.package_hash
    try:
        made = manifest.verify(found.package)
    except InputError as error:
        return _link("served bytes", False, f"package {name}", error.problem)
    size = sum(entry.size for entry in made.files) / 1e6
    signed = f"signed, {made.signature.scheme}" if made.signature else "unsigned"
    told = f"{len(made.files)} files, {size:.1f} MB, every hash as in manifest.json; {signed}"
    holds = made.package_hash == name
    return _link("served bytes", holds, f"package {made.package_hash}", told, "" if holds else f"registered as {name}")


def _version(found: Found) -> Link:
    version = found.version
    serves = f"alias {', '.join(found.aliases)}" if found.aliases else "no alias: it does not serve now"
    return _link("version", None, f"{version.model} version {version.number}", serves, f"MLflow run {version.run_id}")


def _verdict(found: Found) -> Link:
    path, tags = found.kept.file("gates.json"), found.version.tags
    if path is None:
        return _link("verdict", False, f"{tags.get('verdict', 'unknown')}, but gates.json is gone")
    gates = found.kept.json("gates.json")
    digest = sha256_file(path)
    failed = [gate["name"] for gate in gates["gates"] if gate["status"] == "fail"]
    passed = sum(gate["status"] == "pass" for gate in gates["gates"])
    lines = (
        f"{gates['verdict']}: {passed} gates passed, {len(gates['gates']) - passed - len(failed)} did not apply",
        f"failed: {', '.join(failed)}" if failed else "",
        f"gates.json {digest}",
    )
    if gates["package_hash"] != found.version.package_hash:
        return _link("verdict", False, *lines, f"it judged {gates['package_hash']}")
    again = digest != tags.get("verdict_hash")  # judged again after a promotion that was killed: the run has the first
    return _link("verdict", None if again else True, *lines, f"acted on {tags.get('verdict_hash')}" if again else "")


def _parent(found: Found) -> Link:
    gates: Any = found.kept.json("gates.json")
    if gates is None:
        return _link("parent champion", None, "unknown: gates.json is gone")
    against = gates["champion"]
    if against is None:
        return _link("parent champion", None, "none: it was the first")
    name = f"{found.version.model} version {against['version']}"
    if found.parent is None:
        return _link("parent champion", None, name, f"package {against['package_hash']}", "no longer registered")
    holds = found.parent.package_hash == against["package_hash"]
    differs = "" if holds else f"registered as {found.parent.package_hash}"
    return _link("parent champion", holds, name, f"package {against['package_hash']}", differs)


def _commit(found: Found) -> Link:
    commit = found.version.tags.get("git_commit", "")
    if commit.endswith("-dirty"):
        return _link("commit", None, commit, "the code was changed and not committed")
    missing = "" if found.commit else "not in this repository"
    return _link("commit", True if found.commit else None, commit or "unknown", found.commit, missing)


def _params(found: Found) -> Link:
    path = found.kept.file("params.yaml")
    if path is None:
        return _link("params", None, "the run keeps no params.yaml")
    params = read_yaml(path.read_text(encoding="utf-8"))
    shaped = _inside(found, layout.PARAMS)
    if shaped is None:
        return _link("params", False, f"the package's {layout.PARAMS} is gone")
    other = _first_other(shaped, params)
    lines = (f"params.yaml {sha256_file(path)}", f"profile {params['run']['profile']}, seed {params['run']['seed']}")
    return _link("params", not other, *lines, f"{other} is another value inside the package" if other else "")


def _inside(found: Found, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON file of the package, None where it is gone or no JSON: whoever asks may look into just that."""
    try:
        return read_json(found.package / name)
    except (OSError, ValueError):
        return None


def _first_other(shaped: Mapping[str, Any], params: Mapping[str, Any], above: str = "") -> str:
    """Return the first key whose value inside the package is not that of params.yaml; "" when all agree."""
    for key, value in shaped.items():
        now = params.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            deeper = _first_other(value, now, f"{above}{key}.")
            if deeper:
                return deeper
        elif value != now:
            return f"{above}{key}"
    return ""


def _lock(found: Found) -> Link:
    path, stated = found.kept.file("dvc.lock"), found.version.tags.get("dvc_lock_hash", "")
    if path is None:
        return _link("dvc.lock", None if not stated else False, stated or "none", "the run keeps none")
    digest = sha256_file(path)
    owed = f"not yet on the DVC remote, owed to it since {found.owed_since}" if found.owed_since else ""
    return _link("dvc.lock", digest == stated, digest, "" if digest == stated else f"registered as {stated}", owed)


def _tables(found: Found) -> Link:
    name = found.version.tags.get("data_hash", "")
    inside = _inside(found, layout.LINEAGE)
    if inside is None:
        return _link("data tables", False, f"data {name}", f"the package's {layout.LINEAGE} is gone")
    until = f"before {inside['as_of']}" if inside["as_of"] else "no dates: a given split"
    files = (found.kept.hashes or {}).get("ingest", {})
    wanted = [files.get(f"{table}.parquet") for table in ("interactions", "items")]
    if name != inside["data_hash"]:
        return _link("data tables", False, f"data {name}", f"the package says {inside['data_hash']}")
    if None in wanted:
        return _link("data tables", None, f"data {name}", until, "the run keeps no hash of each table")
    tables = [f"{table}.parquet {digest}" for table, digest in zip(("interactions", "items"), wanted, strict=True)]
    return _link("data tables", build.name_of_data(*map(str, wanted)) == name, f"data {name}", *tables, until)


def _sources(found: Found) -> Link:
    source: Any = found.kept.json("source.lock.json")
    if source is None:
        return _link("source files", None, "the run keeps no source.lock.json")
    files = [f"{file['name']} {file.get('sha256', '')}".strip() for file in source["files"]]
    more = [f"and {len(files) - 8} more in source.lock.json"] if len(files) > 8 else []
    if source["kind"] == "market":
        more = ["no files: simulated from params and seed"]
    return _link("source files", None, f"kind {source['kind']}", *files[:8], *more)
