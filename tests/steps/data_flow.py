"""A workspace for the data stages' tests: params of a small market or of a folder, stages run in this process."""

import hashlib
import os
import subprocess
import sys

import yaml

from rporec.files import write_json
from steps import stage
from steps.ingest import ingest
from tests.project import ROOT

SMALL = {
    "ingest": {"market": {"users": 120, "items": 60, "days": 40, "events_per_user": 6.0}},
    "validate": {"min_interactions": 5, "min_users": 2, "min_items": 2},
    "sequence": {"history_length": 5, "valid_days": 6, "test_days": 6},
}
FOLDER = {"ingest": {"source": "folder", "as_of": None}}


def workspace(root, *changes):
    """Write params.yaml (the demo's, with SMALL and the changes on top) and dvc.yaml below `root`."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for change in (SMALL, *changes):
        _merge(params, change)
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    (root / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    return root


def run(root, name, body):
    return stage.execute(name, body, root, uses_torch=False)


def ingested(root, *changes):
    """A workspace after ingest, with the little of validate.json that sequence reads."""
    run(workspace(root, *changes), "ingest", ingest)
    end = stage.config.load(root / "params.yaml").ingest.as_of and 1_767_225_600
    write_json(root / "outputs/validate/validate.json", {"passed": True, "end": end})
    return root


def command(root, name, **environment):
    """Run a stage as users do; returns (exit code, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", f"steps.{name}"], cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    return done.returncode, done.stderr


def hashes(folder, *names):
    files = [folder / name for name in names] or sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _merge(base, change):
    for key, value in change.items():
        if isinstance(value, dict):
            _merge(base[key], value)
        else:
            base[key] = value
