"""Every environment variable that is read is documented in .env.example, once; what is documented there is read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.infra import variables
from tests.project import ROOT, git

# Read, but nobody's to set: made by this code for its own children, by accelerate, or by the system.
INNER = {"RPOREC_WORKSPACE", "RPOREC_RUN", "RPOREC_PLATFORM", "RPOREC_PLATFORM_TOKEN", "LOCAL_RANK", "PATH"}
# Of shell scripts: what the containers and CI have of themselves.
SHELL_INNER = {"AIRFLOW_HOME", "CI", "DEBIAN_FRONTEND", "HOSTNAME", "REDISCLI_AUTH"}
LINES = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
NAMES = [found[1] for line in LINES if (found := re.match(r"#?([A-Z][A-Z0-9_]*)=", line))]
COMPOSE = (ROOT / "infra/compose.yaml").read_text(encoding="utf-8")
KUBERNETES = sorted((ROOT / "infra/kubernetes").glob("*.yaml"))


def _secret_keys(node: object) -> set[str]:
    """Every variable that manifests and values take from the secret `rporec`."""
    found: set[str] = set()
    if isinstance(node, dict):
        if "secretKeyRef" in node:
            found.add(node["secretKeyRef"]["key"])
        if node.get("secretName") == "rporec":
            found.add(node["secretKey"])
        found |= {value for key, value in node.items() if key.startswith("keyOf")}
        return found.union(*(_secret_keys(value) for value in node.values()))
    if isinstance(node, list):
        return found.union(*(_secret_keys(value) for value in node))
    return found


def _used() -> dict[str, str]:
    """Every variable that may be set from outside, and who reads it."""
    found = {name: ", ".join(sorted(files)) for name, files in variables.read_by_python().items()}
    for path in sorted((ROOT / "infra").rglob("*.sh")):
        found |= dict.fromkeys(variables.read_by_shell(path.read_text(encoding="utf-8")), path.name)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    exported = [name for line in re.findall(r"^export (.+)$", makefile, re.MULTILINE) for name in line.split()]
    found |= dict.fromkeys([*exported, *re.findall(r"^(\w+) \?=", makefile, re.MULTILINE)], "Makefile")
    found |= dict.fromkeys(variables.interpolated(COMPOSE), "infra/compose.yaml")
    for path in KUBERNETES:
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            found |= dict.fromkeys(_secret_keys(document), path.name)
    return {name: where for name, where in found.items() if name not in INNER | SHELL_INNER}


USED = _used()


def test_each_variable_that_is_read_is_documented() -> None:
    missing = {name: where for name, where in USED.items() if name not in NAMES}
    assert missing == {}


def test_each_documented_variable_is_read() -> None:
    assert [name for name in NAMES if name not in USED] == []


def test_each_variable_is_documented_once_and_says_what_it_is() -> None:
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    for number, line in enumerate(LINES):
        if re.match(r"#?[A-Z][A-Z0-9_]*=", line):
            above = LINES[:number][::-1]
            words = next(text for text in above if not re.match(r"#?[A-Z][A-Z0-9_]*=", text))
            assert words.startswith("# "), f"nothing is said of {line}"


def test_the_file_can_be_read_by_compose_and_shell_and_holds_no_secret() -> None:
    for line in LINES:
        assert re.fullmatch(r"|#.*|[A-Z][A-Z0-9_]*=\S*", line), line
    given = dict(line.split("=", 1) for line in LINES if re.match(r"[A-Z]", line))
    assert {name for name, value in given.items() if value} == {"RPOREC_UID"}
    assert ".env" not in git(ROOT, "ls-files").splitlines()


def test_what_compose_cannot_do_without_is_not_commented_out() -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE))
    assert wanted == {line.split("=")[0] for line in LINES if re.match(r"[A-Z]", line)}


def test_a_name_of_ours_in_the_code_is_known_by_the_file() -> None:
    """Also where it is read in a way that the search does not see."""
    for path in variables.python_files():
        named = set(re.findall(r"""["'](RPOREC_[A-Z_]+)["']""", path.read_text(encoding="utf-8")))
        assert named <= {*NAMES, *INNER}, path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('import os\nos.environ.get("A_B")', {"A_B"}),
        ('import os\nos.environ["A_B"] = "1"', set()),
        ('import os\nX = "A_B"\nprint(os.environ[X])', {"A_B"}),
        ('import os\nX, Y = "A_B", "C_D"\nos.getenv(Y)', {"C_D"}),
        ('def read(environment):\n    return [environment.get(n, "") for n in ("A_B", "C_D")]', {"A_B", "C_D"}),
        ('import os\nfor n in ("E",):\n    pass\nfor n in ("A_B",):\n    os.environ.pop(n)', {"A_B"}),
        ('import os\nprint("A_B" in os.environ, "C" in {})', {"A_B"}),
        ('from rporec.home import NAME\ndef read(env):\n    return env[NAME]', {"RPOREC_HOME"}),
    ],
)  # fmt: skip
def test_reads_are_found(source: str, names: set[str], tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(source)
    assert set(variables.reads(file)) == names


def test_a_read_whose_name_cannot_be_told_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("import os\ndef read(name):\n    return os.environ[name.upper()]")
    with pytest.raises(AssertionError, match="which variable"):
        list(variables.reads(file))
