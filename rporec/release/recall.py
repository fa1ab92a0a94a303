"""The verdict that a registered package once got: kept in its MLflow run, put back where a workspace lacks it.

A package that is registered already is not judged again. Not the reading of a verdict (verdict.py).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rporec.errors import InputError
from rporec.files import read_json, write_json
from rporec.release import summary
from rporec.release.lookup import Version
from rporec.release.place import Place


def verdict_of(place: Place, version: Version, root: Path) -> dict[str, Any]:
    """Return gates.json of a version's package: the one in the workspace `root`, else that of the version's run.

    Raises:
        InputError: the run does not hold it any more.
    """
    own = root / summary.GATES
    stated = _read(own)
    if stated is None or stated.get("package_hash") != version.package_hash:
        stated = _fetched(place, version)
        write_json(own, stated)
    return stated


def _fetched(place: Place, version: Version) -> dict[str, Any]:
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path="run/gates.json", dst_path=folder, tracking_uri=place.uri
            )
        except (OSError, mlflow.exceptions.MlflowException) as error:
            raise InputError(
                f"the verdict on version {version.number} of {version.model} is not in its MLflow run: {error}",
                field="run_id", value=version.run_id, rule="a registered package keeps its verdict, run/gates.json",
                cure="restore the run's artefacts from a backup",
            ) from error  # fmt: skip
        found: dict[str, Any] = read_json(Path(path))
        return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = read_json(path)
    except (OSError, ValueError):
        return None
    return found
