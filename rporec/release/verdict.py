"""The verdict as promotion reads it: `reports/gates.json`, bound to a package by its hash, and to the gate's limits.

Judging is `rporec.evaluation.gates`; here only what a promotion must know of the judgement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rporec.config import GateParams
from rporec.errors import InputError
from rporec.evaluation.terms import GATES, STATUSES, limits_digest
from rporec.files import read_json, sha256_file

_CURE = "judge the package first (make gate)"


@dataclass(frozen=True)
class BoundVerdict:
    """A judgement of one package.

    Args:
        passed: no gate failed, and at least one passed.
        package_hash: the package that was judged.
        champion: version number of the champion that it was compared with, None when there was none.
        champion_hash: the champion's package, "" when there was none: a number alone may name another package in a
            registry made anew.
        failed: names of the gates that failed.
        limits: digest of the limits that it was judged by.
        digest: SHA-256 of the file, for the audit.
    """

    passed: bool
    package_hash: str
    champion: int | None
    champion_hash: str
    failed: tuple[str, ...]
    limits: str
    digest: str

    @property
    def word(self) -> str:
        """`pass` or `fail`."""
        return "pass" if self.passed else "fail"


def read(path: Path) -> BoundVerdict:
    """Read gates.json.

    Raises:
        InputError: there is no verdict, or the file is not one: every gate answered once, by a known status.
    """
    if not path.is_file():
        raise InputError("there is no verdict on this package", file=path, rule="no promotion without one", cure=_CURE)
    try:
        stated = read_json(path)
        word, champion = stated["verdict"], stated["champion"]
        answers = [(str(gate["name"]), str(gate["status"])) for gate in stated["gates"]]
        package_hash, limits = str(stated["package_hash"]), str(stated["limits"])
        number, champion_hash = (
            (None, "") if champion is None else (int(champion["version"]), str(champion["package_hash"]))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the verdict cannot be read: {error}", file=path, cure=_CURE) from error
    passed = _judged(path, word, answers)
    failed = tuple(name for name, status in answers if status == "fail")
    return BoundVerdict(passed, package_hash, number, champion_hash, failed, limits, sha256_file(path))


def check_limits(verdict: BoundVerdict, params: GateParams) -> None:
    """Refuse a verdict that other limits than the present ones gave.

    Raises:
        InputError: section `gate` changed since.
    """
    if verdict.limits != limits_digest(params):
        raise InputError(
            "the limits changed since the gate",
            file="params.yaml", field="gate", rule="judged by the limits that stand there now",
            cure="judge the package again (make gate)",
        )  # fmt: skip


def _judged(path: Path, word: object, answers: list[tuple[str, str]]) -> bool:
    """Return whether the verdict is a pass; refuse one that its gates do not bear out."""
    names = sorted(name for name, _ in answers)
    if names != sorted(GATES):
        raise InputError(
            "the verdict does not answer exactly the gates that there are",
            file=path, field="gates", value=names, rule=", ".join(GATES), cure=_CURE,
        )  # fmt: skip
    statuses = {status for _, status in answers}
    if not statuses <= set(STATUSES):
        raise InputError(
            "a gate has an unknown status",
            file=path, field="gates", value=sorted(statuses), rule=", ".join(STATUSES), cure=_CURE,
        )  # fmt: skip
    passed = "fail" not in statuses and "pass" in statuses
    if word != ("pass" if passed else "fail"):
        raise InputError(
            "the verdict contradicts its gates",
            file=path, field="verdict", value=word, rule="pass when no gate failed and one passed, else fail",
            cure=_CURE,
        )  # fmt: skip
    return passed
