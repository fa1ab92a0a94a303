"""The verdict as promotion reads it: `reports/gates.json`, bound to a package by its hash.

Judging is `rporec.evaluation.gates`; here only what a promotion must know of the judgement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rporec.errors import InputError
from rporec.files import read_json, sha256_file

_CURE = "judge the package first (make gate)"


@dataclass(frozen=True)
class BoundVerdict:
    """A judgement of one package.

    Args:
        passed: no gate failed.
        package_hash: the package that was judged.
        champion: version number of the champion that it was compared with, None when there was none.
        failed: names of the gates that failed.
        digest: SHA-256 of the file, for the audit.
    """

    passed: bool
    package_hash: str
    champion: int | None
    failed: tuple[str, ...]
    digest: str

    @property
    def word(self) -> str:
        """`pass` or `fail`."""
        return "pass" if self.passed else "fail"


def read(path: Path) -> BoundVerdict:
    """Read gates.json.

    Raises:
        InputError: there is no verdict, or the file is not one.
    """
    if not path.is_file():
        raise InputError("there is no verdict on this package", file=path, rule="no promotion without one", cure=_CURE)
    try:
        stated = read_json(path)
        word, champion = stated["verdict"], stated["champion"]
        failed = tuple(str(gate["name"]) for gate in stated["gates"] if gate["status"] == "fail")
        package_hash = str(stated["package_hash"])
        number = None if champion is None else int(champion["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the verdict cannot be read: {error}", file=path, cure=_CURE) from error
    if word not in {"pass", "fail"} or (word == "pass") != (not failed):
        raise InputError(
            "the verdict contradicts its gates",
            file=path, field="verdict", value=word, rule="pass when no gate failed, else fail", cure=_CURE,
        )  # fmt: skip
    return BoundVerdict(word == "pass", package_hash, number, failed, sha256_file(path))
