"""What must hold after every fault: a gated champion, a whole audit, every version and its data still there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from rporec.files import read_json, sha256_file
from rporec.release import audit, kept, lookup, registry
from rporec.release.audit_row import Row
from rporec.release.lookup import Version
from rporec.release.place import Place
from tests.faults.platform import Platform

MODEL = "rporec-tiny"


class Whole:
    """Looks at a platform; remembers the audit and the versions that it saw, which may only grow."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.place = Place(platform.url("mlflow"), platform.home, audit_url=platform.database("rporec"))
        self._rows: list[Row] = []
        self._versions: dict[int, str] = {}
        self._quarantine: dict[Path, str] = {}

    def champion(self) -> Version:
        found = lookup.by_alias(self.place.uri, MODEL, lookup.CHAMPION)
        assert found is not None, "there is no champion"
        return found

    def check(self) -> Version:
        """Check all of it; return the champion."""
        champion = self.champion()
        self._check_audit(champion)
        self._check_versions()
        self._check_gated(champion)
        self._check_quarantine()
        return champion

    def _check_audit(self, champion: Version) -> None:
        rows = audit.rows(self.place.audit, MODEL)
        assert rows[: len(self._rows)] == self._rows, "the audit is append-only"
        self._rows = rows
        assert audit.open_moves(self.place.audit, MODEL) == []
        assert {row.act for row in rows} == {"promote"}, "nothing moved that no promotion moved"
        moves = [row for row in rows if row.alias == lookup.CHAMPION]
        froms, tos = [row.from_version for row in moves], [row.to_version for row in moves]
        assert froms == [None, *tos[:-1]], "each move begins where the last one ended"
        assert tos[-1] == champion.number
        assert len(set(tos)) == len(tos), "no version was promoted twice"

    def _check_gated(self, champion: Version) -> None:
        assert champion.tags["verdict"] == "pass"
        with tempfile.TemporaryDirectory() as scratch:
            verdict = kept.fetch(self.place, champion, Path(scratch)).file("gates.json")
            assert verdict is not None
            gates = read_json(verdict)
            digest = sha256_file(verdict)
        assert (gates["verdict"], gates["package_hash"]) == ("pass", champion.package_hash)
        last = [row for row in self._rows if row.alias == lookup.CHAMPION][-1]
        assert last.verdict_hash == champion.tags["verdict_hash"] == digest

    def _check_versions(self) -> None:
        """Every version is there, its package whole, and all that its dvc.lock names lies whole in the cache."""
        numbers = range(1, max(row.to_version or 0 for row in self._rows) + 1)
        for number in numbers:
            version = lookup.by_number(self.place.uri, MODEL, number)
            assert version is not None, f"version {number} is gone"
            assert self._versions.setdefault(number, version.package_hash) == version.package_hash
            registry.local_package(self.place, version)
            with tempfile.TemporaryDirectory() as scratch:
                lock = kept.fetch(self.place, version, Path(scratch)).file("dvc.lock")
                assert lock is not None
                entries = yaml.safe_load(lock.read_text())["stages"]
            for name in objects(self._platform.home / "dvc" / "cache", entries):
                assert name.exists(), f"version {number}: {name} is gone"
                assert hashlib.md5(name.read_bytes()).hexdigest() == name_of(name), name

    def _check_quarantine(self) -> None:
        for path in sorted(self._platform.clone.glob("runs/nights/*/outputs/ingest/quarantine.parquet")):
            self._quarantine[path] = sha256_file(path)
        assert all(path.exists() for path in self._quarantine), "a quarantine is gone"


def objects(cache: Path, entries: dict[str, dict[str, list[dict[str, str]]]]) -> Iterator[Path]:
    """Yield the cache's files that a dvc.lock names, those in folders included."""
    for entry in entries.values():
        for out in entry.get("outs", []):
            found = _object(cache, out["md5"])
            yield found
            if out["md5"].endswith(".dir"):
                yield from (_object(cache, one["md5"]) for one in json.loads(found.read_text()))


def name_of(path: Path) -> str:
    """Return the hash that a file of the cache is named by."""
    return f"{path.parent.name}{path.name}".removesuffix(".dir")


def _object(cache: Path, value: str) -> Path:
    return cache / "files" / "md5" / value[:2] / value[2:]
