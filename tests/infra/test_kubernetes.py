"""infra/kubernetes: manifests name what exists and ask for no more rights than needed; the pod hook does its work."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from infra.kubernetes import pod_hook
from tests.infra import variables
from tests.project import IDENTITY, ROOT, git

FOLDER = ROOT / "infra/kubernetes"
MANIFESTS = [
    document
    for name in ("service.yaml", "checkout.yaml")
    for document in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
]
BY_KIND = {document["kind"]: document for document in MANIFESTS}
AIRFLOW = yaml.safe_load((FOLDER / "airflow-values.yaml").read_text(encoding="utf-8"))
MLFLOW = yaml.safe_load((FOLDER / "mlflow-values.yaml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "infra/compose.yaml").read_text(encoding="utf-8"))["services"]
VERSIONS = {
    "ServiceAccount": "v1", "Deployment": "apps/v1", "Service": "v1", "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1", "NetworkPolicy": "networking.k8s.io/v1", "PersistentVolumeClaim": "v1",
    "Job": "batch/v1",
}  # fmt: skip
POD = BY_KIND["Deployment"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PODS = [BY_KIND[kind]["spec"]["template"]["spec"] for kind in ("Deployment", "Job")]
_MEMORY = {"Mi": 1, "Gi": 1024}


def _fits(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector["matchLabels"].items() <= labels.items()


def _mb(text: str) -> int:
    return int(text[:-2]) * _MEMORY[text[-2:]]


@pytest.mark.parametrize("document", MANIFESTS, ids=lambda one: f"{one['kind']}/{one['metadata']['name']}")
def test_each_manifest_has_its_kind_version_and_name(document: dict[str, Any]) -> None:
    assert document["apiVersion"] == VERSIONS[document["kind"]]
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,62}", document["metadata"]["name"])
    assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "rporec"
    allowed = {"apiVersion", "kind", "metadata", "spec"}
    allowed |= {"automountServiceAccountToken"} if document["kind"] == "ServiceAccount" else set()
    assert set(document) <= allowed


def test_selectors_find_the_pods() -> None:
    labels = POD["metadata"]["labels"]
    assert _fits(BY_KIND["Deployment"]["spec"]["selector"], labels)
    assert BY_KIND["Service"]["spec"]["selector"].items() <= labels.items()
    assert _fits(BY_KIND["PodDisruptionBudget"]["spec"]["selector"], labels)
    assert _fits(BY_KIND["NetworkPolicy"]["spec"]["podSelector"], labels)
    assert _fits(POD["spec"]["topologySpreadConstraints"][0]["labelSelector"], labels)
    job = BY_KIND["Job"]["spec"]["template"]["metadata"]["labels"]
    assert not BY_KIND["Service"]["spec"]["selector"].items() <= job.items(), "the service must not reach other pods"


@pytest.mark.parametrize("pod", PODS, ids=["service", "checkout"])
def test_pods_have_no_rights_and_bounds(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert re.fullmatch(r"rporec-(platform|service):\d+", container["image"])
        bounds = container["resources"]
        assert set(bounds["requests"]) == set(bounds["limits"]) == {"cpu", "memory"}
        assert _mb(bounds["requests"]["memory"]) <= _mb(bounds["limits"]["memory"])
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_service_writes_only_where_a_volume_lies() -> None:
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    folders = {one["value"] for one in CONTAINER["env"] if one.get("value", "").startswith("/")}
    assert folders
    assert all(any(Path(folder).is_relative_to(mount) for mount in mounts) for folder in folders)


def test_the_model_fits_into_the_pod() -> None:
    """What the service gate lets through must be able to serve."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert _mb(CONTAINER["resources"]["limits"]["memory"]) >= params["gate"]["max_memory_mb"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > 60  # traffic.timeout in bento/service.py
    assert 'traffic={"timeout": 60}' in (ROOT / "bento/service.py").read_text(encoding="utf-8")


def test_probes_tell_a_busy_service_from_a_dead_one() -> None:
    """That these routes answer is asked of a running service: tests/bento/test_service.py."""
    ports = {port["name"] for port in CONTAINER["ports"]}
    paths = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    offered = set(re.findall(r'"(/\w+)"', (ROOT / "bento/openapi.py").read_text(encoding="utf-8")))
    assert {one["path"] for one in paths.values()} <= offered
    assert paths["readinessProbe"]["path"] == "/readyz"
    assert paths["livenessProbe"]["path"] != "/readyz", "a service that is busy must not be killed"
    assert {one["port"] for one in paths.values()} <= ports
    assert BY_KIND["Service"]["spec"]["ports"][0]["targetPort"] in ports
    notes = POD["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == str(CONTAINER["ports"][0]["containerPort"]) == CONTAINER["command"][-1]
    assert f'@app.get("{notes["prometheus.io/path"]}"' in (ROOT / "bento/application.py").read_text(encoding="utf-8")


def test_the_command_is_the_one_of_compose() -> None:
    assert CONTAINER["command"] == COMPOSE["service"]["command"]
    assert CONTAINER["image"] == COMPOSE["service"]["image"]


def test_the_autoscaler_moves_the_deployment() -> None:
    spec = BY_KIND["HorizontalPodAutoscaler"]["spec"]
    deployment = BY_KIND["Deployment"]
    target = {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert spec["scaleTargetRef"] == target
    assert 2 <= spec["minReplicas"] < spec["maxReplicas"]
    assert "replicas" not in deployment["spec"], "each apply would undo the autoscaler"
    assert "cpu" in CONTAINER["resources"]["requests"], "utilisation is measured against it"


def test_the_network_policy_lets_out_to_what_the_service_needs_and_nothing_else() -> None:
    policy = BY_KIND["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all("from" in rule and "ports" in rule for rule in policy["ingress"])
    assert all("to" in rule and "ports" in rule for rule in policy["egress"])
    out = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    mlflow = next(one["value"] for one in CONTAINER["env"] if one["name"] == "MLFLOW_TRACKING_URI")
    assert int(mlflow.rpartition(":")[2]) in out
    assert out == {53, 5000, 6379}
    (peer,) = policy["egress"][1]["to"]
    # The label that the chart gives, whose name is `mlflow` unless nameOverride says otherwise.
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "mlflow"}
    assert "nameOverride" not in MLFLOW


def test_variables_are_known_and_secrets_are_references() -> None:
    read = set(variables.read_by_python())
    listed = [one for pod in PODS for container in pod["containers"] for one in container["env"]]
    for one in [*listed, *AIRFLOW["env"]]:
        if one["name"].startswith("RPOREC_") and one["name"] != "RPOREC_REPOSITORY":  # read by the job's own script
            assert one["name"] in read, one
        if re.search(r"KEY|STORE|REPOSITORY|AUDIT|PASSWORD", one["name"]):
            assert "value" not in one, one
    assert {one["envName"] for one in AIRFLOW["secret"] if one["envName"].startswith("RPOREC_")} <= read
    for name in FOLDER.glob("*.yaml"):
        text = name.read_text(encoding="utf-8")
        assert "kind: Secret" not in text
        assert not re.search(r"(?i)password: \S|://\w+:\S+@", text.replace("passwordKey: password", "")), name


def test_airflow_runs_each_task_in_a_pod_with_the_checkout() -> None:
    installed = dict(
        line.split("==") for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").split() if "==" in line
    )
    assert AIRFLOW["airflowVersion"] == installed["apache-airflow"]
    assert AIRFLOW["executor"] == "KubernetesExecutor"
    assert AIRFLOW["createUserJob"] == {"enabled": False}
    image = AIRFLOW["images"]["airflow"]
    assert f"{image['repository']}:{image['tag']}" == COMPOSE["mlflow"]["image"]
    folder = next(one["value"] for one in AIRFLOW["env"] if one["name"] == "RPOREC_HOME")
    for part in ("workers", "dagProcessor", "scheduler", "triggerer"):
        (volume,), (mount,) = AIRFLOW[part]["extraVolumes"], AIRFLOW[part]["extraVolumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == BY_KIND["PersistentVolumeClaim"]["metadata"]["name"]
        assert volume["name"] == mount["name"]
        assert Path(folder).is_relative_to(mount["mountPath"])
        assert Path(AIRFLOW["config"]["core"]["dags_folder"]).is_relative_to(mount["mountPath"])
    assert BY_KIND["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert AIRFLOW["securityContexts"]["pod"]["runAsNonRoot"] is True
    assert {AIRFLOW[key] for key in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName")} == {
        AIRFLOW["data"]["metadataSecretName"]
    }


def test_mlflow_keeps_rows_in_postgres_and_files_in_the_object_store() -> None:
    assert MLFLOW["backendStore"]["postgres"]["enabled"] is True
    assert MLFLOW["backendStore"]["existingDatabaseSecret"]["name"]
    assert MLFLOW["artifactRoot"]["proxiedArtifactStorage"] is True
    assert MLFLOW["artifactRoot"]["s3"]["existingSecret"]["keyOfSecretAccessKey"] == "AWS_SECRET_ACCESS_KEY"
    assert MLFLOW["fullnameOverride"] == "mlflow", "others know it by this name"
    assert MLFLOW["securityContext"]["runAsNonRoot"] is True


def _pod(dag: str, task: str) -> SimpleNamespace:
    bounds = AIRFLOW["workers"]["resources"]
    worker = SimpleNamespace(name="base", resources=SimpleNamespace(**{key: dict(bounds[key]) for key in bounds}))
    side = SimpleNamespace(name="side", resources=SimpleNamespace(requests=None, limits=None))
    return SimpleNamespace(
        metadata=SimpleNamespace(labels={"dag_id": dag, "task_id": task}),
        spec=SimpleNamespace(containers=[side, worker], tolerations=None),
    )


@pytest.mark.parametrize("task", pod_hook.HEAVY)
def test_heavy_tasks_get_a_gpu(task: str) -> None:
    pod = _pod("nightly_retrain", task)
    pod_hook.pod_mutation_hook(pod)
    side, worker = pod.spec.containers
    assert worker.resources.limits == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert worker.resources.requests == {"cpu": "8", "memory": "32Gi"}
    assert side.resources.limits is None
    assert [one["key"] for one in pod.spec.tolerations] == ["nvidia.com/gpu"]


@pytest.mark.parametrize(("dag", "task"), [("nightly_retrain", "ingest"), ("promote", "gate"), ("other", "align")])
def test_light_tasks_get_none(dag: str, task: str) -> None:
    pod = _pod(dag, task)
    pod_hook.pod_mutation_hook(pod)
    assert pod == _pod(dag, task)


def test_heavy_tasks_are_stages_and_the_hook_is_no_template() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(pod_hook.HEAVY) <= set(stages)
    # The chart passes it through Helm's templates.
    assert "{{" not in (FOLDER / "pod_hook.py").read_text(encoding="utf-8")


def test_the_job_clones_and_then_pulls(tmp_path: Path) -> None:
    """Its own script, with the disk in a folder of the test."""
    origin, disk = tmp_path / "origin", tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", origin], check=True)
    (container,) = BY_KIND["Job"]["spec"]["template"]["spec"]["containers"]
    script = container["args"][0].replace("/srv/rporec", str(disk))
    env = {**os.environ, **IDENTITY, "RPOREC_REPOSITORY": str(origin)}
    for name in ("one", "two"):
        (origin / name).write_text(name)
        git(origin, "add", ".")
        git(origin, "commit", "--quiet", "--message", name)
        subprocess.run([*container["command"], script], check=True, env=env, capture_output=True)
        assert (disk / name).read_text() == name
