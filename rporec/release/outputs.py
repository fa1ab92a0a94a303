"""The hash of every file that a run made, by stage: what a later reproduction is compared with.

Pages and pictures are outside the promise of equal bytes (they tell times) and are left out, but for the package's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from rporec.files import sha256_file, write_json

FILE = Path("reports/outputs.json")
Hashes = dict[str, dict[str, str]]  # stage to file below outputs/<stage> to SHA-256
_UNPROMISED = frozenset({".html", ".css", ".js", ".png", ".svg", ".ico"})
_PACKAGE = "package"


def write(root: Path) -> None:
    """Write the hashes of all stages' outputs in the workspace `root` to reports/outputs.json."""
    stages = list(yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    write_json(root / FILE, read(root, stages))


def read(root: Path, stages: Sequence[str]) -> Hashes:
    """Return the hashes of the promised files that lie below `outputs/` now; {} for a stage without any."""
    return {stage: _of_stage(root / "outputs" / stage, stage) for stage in stages}


def _of_stage(folder: Path, stage: str) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    promised = [path for path in files if stage == _PACKAGE or _is_promised(path.relative_to(folder))]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in promised}


def _is_promised(path: Path) -> bool:
    return path.suffix not in _UNPROMISED and "docs" not in path.parts
