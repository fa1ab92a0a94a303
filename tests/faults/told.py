"""The fault table: what the tests saw, written to reports/faults.json and told as Markdown.

`python -m tests.faults.told` prints the table of the last run, as it stands in docs/reliability.md.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rporec.files import read_json, write_json
from tests.project import ROOT

FILE = ROOT / "reports" / "faults.json"


@dataclass
class Table:
    """Rows in the order of the faults."""

    path: Path = FILE
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, fault: str, happened: str, seconds: float, since: str) -> None:
        """Add a fault that was survived.

        Args:
            fault: what was done.
            happened: what came of it, in words.
            seconds: until it was right again.
            since: from when that is counted: the fault, or its end.
        """
        self.rows.append(asdict(Row(fault, happened, round(seconds, 1), since)))

    def write(self, service: dict[str, Any]) -> None:
        """Write what there is; `service` = what its users saw."""
        write_json(self.path, {"faults": self.rows, "service": service})


@dataclass(frozen=True)
class Row:
    """One fault."""

    fault: str
    happened: str
    seconds: float
    since: str


def markdown(told: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    lines = ["| fault | what happened | recovered after |", "|---|---|---|"]
    for row in told["faults"]:
        lines.append(f"| {row['fault']} | {row['happened']} | {row['seconds']:.0f} s after {row['since']} |")
    seen = told["service"]
    asked = f"The service was asked {seen['asked']:,} times meanwhile, {seen['failures']} requests failed, "
    return "\n".join([*lines, "", asked + f"the slowest answer took {seen['slowest_seconds']:.1f} s."]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown(read_json(FILE)))
