"""The table of faults as it is told: every row with its time, and what users saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rporec.files import read_json
from tests.faults import told
from tests.project import ROOT


def test_the_table_holds_every_fault_and_what_users_saw(tmp_path: Path) -> None:
    table = told.Table(tmp_path / "faults.json")
    table.add("full disk", "the next try succeeds", 12.34, "space was made")
    table.write({"asked": 1200, "failures": 0, "slowest_seconds": 2.5})
    text = told.markdown(read_json(table.path))
    assert "| full disk | the next try succeeds | 12 s after space was made |" in text
    assert "asked 1,200 times meanwhile, 0 requests failed, the slowest answer took 2.5 s" in text


def test_the_command_prints_it_or_fails_where_nothing_ran() -> None:
    command = [sys.executable, "-m", "tests.faults.told"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if told.FILE.exists():
        assert done.stdout == told.markdown(read_json(told.FILE))
    else:
        assert done.returncode != 0
