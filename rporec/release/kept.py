"""What the registry keeps of the run behind a version: parameters, lock files, verdict, hashes of its outputs.

Read-only. Older versions keep less: what is not there is None, never made up.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rporec.errors import InputError
from rporec.files import read_json
from rporec.release import lookup, outputs
from rporec.release.commit import OWN
from rporec.release.lookup import Version
from rporec.release.registry import Place

# Beside params.yaml: what a workspace has of its own, without which a commit alone does not say what ran.
LOCKS = tuple(sorted(OWN - {"params.yaml"}))


@dataclass(frozen=True)
class Kept:
    """The artefacts `run/` of a version's MLflow run, in a local folder."""

    folder: Path

    def file(self, name: str) -> Path | None:
        """Return one file, None where the version keeps none."""
        path = self.folder / name
        return path if path.is_file() else None

    def json(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return one JSON file's content, None where the version keeps none.

        Raises:
            InputError: it is no JSON.
        """
        path = self.file(name)
        try:
            return None if path is None else read_json(path)
        except ValueError as error:
            raise InputError(
                f"what the registry keeps of the version's run cannot be read: {error}",
                file=path, rule="JSON", cure="restore the registry's artefacts from a backup",
            ) from error  # fmt: skip

    @property
    def hashes(self) -> outputs.Hashes | None:
        """Hashes of the run's outputs by stage."""
        found: outputs.Hashes | None = self.json(outputs.FILE.name)
        return found


def version(place: Place, model: str, number: str) -> Version:
    """Return a version by the number that the user gave.

    Raises:
        InputError: it is no number, or there is no such version.
    """
    digits = number.strip().removeprefix("v")
    found = lookup.by_number(place.uri, model, int(digits)) if digits.isdecimal() else None
    if found is None:
        raise InputError(
            "there is no such version", field="VERSION", value=number, rule=f"a version number of {model}",
            cure="give VERSION=<n>, and PROFILE=<name> for another profile; make run prints the number",
        )  # fmt: skip
    return found


def fetch(place: Place, found: Version, into: Path) -> Kept:
    """Copy what the registry keeps of the version's run into a folder.

    Raises:
        InputError: the run or its files are gone.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    try:
        local = download_artifacts(run_id=found.run_id, artifact_path="run", dst_path=str(into), tracking_uri=place.uri)
    except (MlflowException, OSError) as error:
        raise InputError(
            f"the run behind the version cannot be read: {str(error).splitlines()[0]}",
            file=found.run_id, rule="its artefacts run/ hold params.yaml and dvc.lock",
            cure="restore the registry's artefacts from a backup, or choose another VERSION",
        ) from error  # fmt: skip
    return Kept(Path(local))
