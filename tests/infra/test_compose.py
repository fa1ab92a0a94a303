"""infra/compose.yaml: its form, and what its parts name of each other; its commands run in test_compose_commands.py."""

from __future__ import annotations

import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.infra import compose, variables
from tests.project import ROOT

FILE = ROOT / "infra/compose.yaml"
TEXT = FILE.read_text(encoding="utf-8")
RAW = yaml.safe_load(TEXT)
PROJECT = compose.Project.model_validate({key: value for key, value in RAW.items() if not key.startswith("x-")})
SERVICES = PROJECT.services
OURS = {name: one for name, one in SERVICES.items() if one.image.startswith("rporec-")}
DOCKERFILE = (ROOT / "infra/docker/Dockerfile").read_text(encoding="utf-8")
BIN = str(Path(sys.executable).parent)


def test_services_are_those_of_the_platform() -> None:
    assert set(SERVICES) == {
        "postgres", "redis", "objects", "buckets", "mlflow", "airflow-init", "airflow", "airflow-scheduler",
        "airflow-dag-processor", "airflow-triggerer", "airflow-worker", "service", "prometheus", "grafana",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"imagine": 1}, {"image": "redis"}, {"image": "redis:latest"}, {"ports": ["5000:5000"]}, {"restart": "maybe"}],
)
def test_a_wrong_service_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        compose.Service.model_validate({**RAW["services"]["redis"], **change})


def test_networks_volumes_and_needs_exist_and_are_used() -> None:
    mounted = {mount.split(":")[0] for one in SERVICES.values() for mount in one.volumes if isinstance(mount, str)}
    assert {name for name in mounted if not name.startswith(".")} == set(PROJECT.volumes)
    assert {name for one in SERVICES.values() for name in one.networks} == set(PROJECT.networks)
    graph = {name: set(one.depends_on) for name, one in SERVICES.items()}
    assert set().union(*graph.values()) <= set(SERVICES)
    list(TopologicalSorter(graph).static_order())  # no circle
    for name, one in SERVICES.items():
        for needed, how in one.depends_on.items():
            other = SERVICES[needed]
            if how.condition == "service_healthy":
                assert other.healthcheck, f"{name} waits for the health of {needed}, which tells none"
            else:
                assert other.restart == "no", f"{name} waits for the end of {needed}, which never ends"


def test_files_that_are_mounted_exist() -> None:
    for one in SERVICES.values():
        for mount in one.volumes:
            source = mount.source if isinstance(mount, compose.Mount) else mount.split(":")[0]
            if source.startswith("."):
                assert (FILE.parent / source).exists(), source


def test_everything_that_stays_tells_its_health() -> None:
    assert [name for name, one in SERVICES.items() if one.restart != "no" and one.healthcheck is None] == []


def test_health_is_asked_where_it_is_told() -> None:
    """MLflow's is asked for real by test_compose_commands.py, the service's own by tests/bento/test_service.py."""
    asked = {}
    for name, one in OURS.items():
        found = re.search(r"127\.0\.0\.1:(\d+)(/\S+?)'", " ".join(one.healthcheck.test) if one.healthcheck else "")
        if found:
            asked[name] = (int(found[1]), found[2])
    assert set(asked) == {"mlflow", "airflow", "airflow-scheduler", "service"}
    for name in ("mlflow", "airflow", "service"):
        assert str(asked[name][0]) == (SERVICES[name].command or [])[-1 if name != "mlflow" else -3], name
    assert asked["mlflow"][1] == "/health"
    assert f'"{asked["service"][1]}"' in (ROOT / "bento/openapi.py").read_text(encoding="utf-8")
    routes = _inside("airflow.api_fastapi", "core_api/routes/public/monitor.py")
    assert asked["airflow"][1] == "/api/v2" + "".join(re.findall(r'(?:prefix=|get\(\s*)"(/\w+)"', routes)[:2])
    options = yaml.load(_inside("airflow.config_templates", "config.yml"), Loader=yaml.CSafeLoader)["scheduler"]
    port = int(options["options"]["scheduler_health_check_server_port"]["default"])
    assert asked["airflow-scheduler"] == (port, "/health")
    assert '"/health"' in _inside("airflow.utils", "scheduler_health.py")


def test_addresses_name_services_their_ports_and_networks_in_common() -> None:
    known = {"postgres": 5432, "redis": 6379, "objects": 8333, "mlflow": 5000, "airflow": 8080, "service": 3000}
    for name, one in SERVICES.items():
        for value in one.environment.values():
            for host, port in re.findall(r"(?:@|//)([a-z][a-z-]*):(\d+)", value):
                assert known[host] == int(port), f"{name}: {value}"
                assert set(one.networks) & set(SERVICES[host].networks), f"{name} does not reach {host}"


def test_our_containers_are_not_root_and_can_gain_nothing() -> None:
    for name, one in OURS.items():
        assert one.cap_drop == ["ALL"], name
        assert one.security_opt == ["no-new-privileges:true"], name
        # An id from outside, else the image's own, which is not root's.
        assert one.user is None or one.user.startswith("${RPOREC_UID:?"), name
    users = [re.findall(r"^USER (\S+)", stage, re.MULTILINE) for stage in DOCKERFILE.split("\nFROM ")]
    assert users[2] == users[4] == ["50000"]


def test_no_secret_has_a_value_here() -> None:
    for name, one in SERVICES.items():
        for variable, value in one.environment.items():
            if re.search(r"PASSWORD|SECRET|_KEY|AUTH$|BACKEND_STORE|CONN|BROKER|AUDIT_URL|_STORE$", variable):
                assert re.search(r"\$\{[A-Z_]+(:\?|:-\})", value) or value.endswith(".json"), f"{name}: {variable}"
    assert not re.search(r"://\w+:[^@$\s]+@", TEXT)


def _inside(package: str, file: str) -> str:
    """Return a file of an installed package, which is not imported: that would take long."""
    found = find_spec(package)
    assert found
    assert found.origin
    return (Path(found.origin).parent / file).read_text(encoding="utf-8")


def test_airflow_options_exist() -> None:
    options = yaml.load(_inside("airflow.config_templates", "config.yml"), Loader=yaml.CSafeLoader)
    given = {key for one in SERVICES.values() for key in one.environment if key.startswith("AIRFLOW__")}
    assert len(given) > 10
    for key in given:
        _, section, option = key.lower().split("__")
        if section != "celery":  # of a provider that is in the image alone
            assert option in options[section]["options"], key


def test_variables_for_our_containers_are_known_to_the_code_or_to_mlflow() -> None:
    known = set(re.findall(r"^([A-Z_]+) = ", _inside("mlflow", "environment_variables.py"), re.MULTILINE))
    read = set(variables.read_by_python())
    for name, one in OURS.items():
        for key in one.environment:
            if key.startswith("RPOREC_"):
                assert key in read, f"{name}: {key}"
            elif key.startswith("MLFLOW_") and key not in read:
                options = {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"}  # of `mlflow server`
                assert key in options or key in known, f"{name}: {key}"


def test_each_image_of_ours_is_a_target_whose_base_is_pinned_and_whose_sources_exist() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE))
    assert {one.image.removeprefix("rporec-").split(":")[0] for one in OURS.values()} <= targets
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - targets
    assert bases == {"${PYTHON_IMAGE}"}
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    ignored = (ROOT / "infra/docker/Dockerfile.dockerignore").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (?!--)(\S+) \S+$", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).exists(), source
        assert f"\n!{source.split('/')[0]}\n" in ignored, f"{source} does not reach the build"


def test_packages_of_the_images_are_pinned_and_agree() -> None:
    ours, more = (
        dict(line.split("==") for line in (ROOT / name).read_text(encoding="utf-8").split())
        for name in ("requirements.txt", "infra/docker/requirements-platform.txt")
    )
    assert set(more) & set(ours) == set(), "stated twice"


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_command_of_ours_is_a_command(name: str) -> None:
    """Programs and files exist; the command lines themselves run in test_compose_commands.py."""
    words = SERVICES[name].command
    assert words
    if words[0] == "sh":
        assert (ROOT / words[1]).is_file()
        assert subprocess.run(["sh", "-n", ROOT / words[1]], check=False).returncode == 0
    elif words[0] != "python":
        assert (Path(BIN) / words[0]).exists(), words[0]


def test_commands_of_the_page_name_files_services_and_schedules_that_exist() -> None:
    """They cannot be run here."""
    page = (ROOT / "docs/platform.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    lines += re.findall(r"`(docker compose [^`]+)`", page)
    named = {path for line in lines for path in re.findall(r"\b(?:infra|dags)/[\w./-]+", line)}
    assert len(named) >= 6
    assert [path for path in named if not (ROOT / path).is_file()] == []
    targets = {found[1] for line in lines if (found := re.search(r"--target (\w+) .*-t rporec-\1:1 ", line))}
    assert targets == {one.image.removeprefix("rporec-").split(":")[0] for one in OURS.values()}
    inside = [found for line in lines if (found := re.search(r"(?:exec|run --rm) (\S+) (\w+) (.*)$", line))]
    assert len(inside) == 3
    for found in inside:
        assert found[1] in SERVICES
    for name in re.findall(r"dags unpause (\w+)", "\n".join(lines)):
        assert (ROOT / "dags" / f"{name}.py").is_file()
