"""The commands of README and docs exist and are run by a test; the tree of docs/architecture.md is the tree."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from infra import overlay
from tests.project import ROOT, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Not read for commands: what files say of themselves, what was done once, what needs a GPU and a network, or containers
# (test_compose.py reads those).
OTHERS = {"architecture", "log", "gpu", "platform"}
PAGES = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")) if page.stem not in OTHERS]
TREE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("<!-- tree -->")[2]
PROSE = "\n".join([README, *PAGES])
BLOCKS = re.findall(r"```sh\n(.*?)```", PROSE, re.DOTALL)
SHELL = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
INLINE = re.findall(r"`((?:make|dvc|curl|python -m|airflow) [^`]+)`", PROSE)
COMMANDS = sorted({command for command in (*SHELL, *INLINE) if command})
# Where a command is really run. `make` verbs are matched by verb, everything else by its first words.
RUN_BY = {
    "make run": "test_pipeline.py",
    "make test": ".ci/run",
    "make check": ".ci/run",
    "make setup": ".ci/run",
    "make setup-minilm": ".ci/run",
    "make setup-ray": ".ci/run",
    "make platform": "infra/test_platform.py",
    "make platform-down": "infra/test_platform.py",
    "make help": "house/test_readme.py",
    "make bench-data": "infra/bench/test_data.py",
    "make bench-generate": "infra/bench/test_generate.py",
    "make bench-rechead": "infra/bench/test_rechead.py",
    "make bench-align": "infra/bench/test_align.py",
    "make bench-serve": "infra/bench/test_serve.py",
    "make bench-soak": "infra/bench/test_soak.py",
    "make ablate": "infra/research/test_ablate.py",
    "make study": "infra/research/test_study.py",
    "make gate": "test_readme_commands.py",
    "make promote": "test_readme_commands.py",
    "make challenge": "test_readme_commands.py",
    "make rollback": "test_readme_commands.py",
    "make versions": "test_readme_commands.py",
    "make audit": "test_readme_commands.py",
    "make serve": "test_readme_commands.py",
    "make reasoning": "test_readme_commands.py",
    "make reproduce": "test_reproduce.py",
    "make lineage": "test_reproduce.py",
    "make replay": "infra/replay/test_replay.py",
    "make verify-key": "infra/test_verify_key.py",
    "curl -s": "test_readme_commands.py",
    "python -m bento.build": "test_readme_commands.py",
    "dvc exp": "test_pipeline.py",
    "dvc metrics": "test_pipeline.py",
    "dvc plots": "test_pipeline.py",
    "dvc push": "dags/test_night.py",
    "dvc repro": "test_pipeline.py",
    "make test-platform": "faults/test_faults.py",
    "python -m pytest tests/faults": "faults/test_faults.py",
    "python -m tests.faults.told": "faults/test_told.py",
    "airflow standalone": "dags/test_night.py",
    "airflow backfill": "dags/test_backfill.py",
    "airflow db migrate": "dags/test_night.py",
    "python -m infra.airflow_setup": "dags/test_night.py",
    "python -m infra.housekeeping": "dags/test_backfill.py",
    "python -m infra.monitor": "dags/test_backfill.py",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_run_by_a_test(command: str) -> None:
    words = shlex.split(command.partition("  #")[0])
    while "=" in words[0]:
        words.pop(0)
    known = [start for start in RUN_BY if words[: len(start.split())] == start.split()]
    assert known, f"no test runs {command!r}: add one and name it in RUN_BY"
    place = RUN_BY[known[0]]
    assert (ROOT / place).exists() or (ROOT / "tests" / place).exists()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_commands_name_known_verbs_profiles_and_keys(command: str) -> None:
    words = shlex.split(command)
    done = subprocess.run(["make", "-n", words[1]], cwd=ROOT, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0
    given = dict(word.split("=", 1) for word in words[2:])
    assert set(given) <= {
        "PROFILE",
        "DATA",
        "SET",
        "ARMS",
        "SEEDS",
        "TO",
        "REASON",
        "AGAIN",
        "VERSION",
        "FROM",
        "NIGHTS",
        "SECONDS",
    }
    overlay.merge(ROOT, given.get("PROFILE", "demo"), given.get("SET", ""), given.get("DATA"))


def test_make_help_lists_every_verb() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    verbs = re.findall(r"^([a-z][a-z-]*):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[0] for line in done.stdout.splitlines()] == verbs
    assert {"setup", "check", "test", "test-platform", "run", "serve", "gate", "promote"} <= set(verbs)


def test_the_two_commands_come_first() -> None:
    assert [line.split("#")[0].strip() for line in SHELL[:2]] == ["make run", "make test"]


@pytest.mark.parametrize("top", ["rporec", "steps", "dags", "bento", "infra"])
def test_the_tree_names_every_file_once_with_a_clause(top: str) -> None:
    section = TREE.split(f"\n{top}/", 1)[1]
    section = re.split(r"\n[a-z]", section, maxsplit=1)[0]
    listed = re.findall(r"^ +([\w/]+\.py|\w+/) +\S", section, re.MULTILINE)
    files = [path for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py"]
    assert sorted(name for name in listed if name.endswith(".py")) == sorted(path.name for path in files)


def test_profiles_are_all_named() -> None:
    for path in (ROOT / "profiles").glob("*.yaml"):
        assert f"`{path.stem}`" in README
