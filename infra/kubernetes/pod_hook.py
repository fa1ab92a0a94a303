"""Airflow's local settings on a cluster: gives the pods of heavy tasks a GPU. Handed to the chart as a file.

Airflow calls `pod_mutation_hook` for every pod that KubernetesExecutor makes, with the pod of the chart's template. It
stands here and not in the DAGs, which know nothing of where their tasks run.
"""

from __future__ import annotations

from typing import Any

HEAVY = ("backbone", "cot", "rechead", "align", "evaluate")  # stages whose torch work pays on a GPU
GPUS = {"nvidia.com/gpu": "1"}
MEMORY, CPU = "32Gi", "8"


def pod_mutation_hook(pod: Any) -> None:  # noqa: ANN401 - a V1Pod; its package is in the image alone
    """Give the pod of a heavy task a GPU, memory and cores; leave every other pod as it is.

    Args:
        pod: labelled by Airflow with `dag_id` and `task_id`.
    """
    labels = pod.metadata.labels or {}
    if labels.get("dag_id") != "nightly_retrain" or labels.get("task_id") not in HEAVY:
        return
    worker = next(container for container in pod.spec.containers if container.name == "base")
    worker.resources.requests = {**(worker.resources.requests or {}), "memory": MEMORY, "cpu": CPU}
    worker.resources.limits = {**(worker.resources.limits or {}), "memory": MEMORY, "cpu": CPU, **GPUS}
    # Nodes with GPUs are tainted so that nothing else takes their place.
    pod.spec.tolerations = [
        *(pod.spec.tolerations or []),
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]
