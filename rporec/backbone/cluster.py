"""Shards of completions written on a Ray cluster, or on workers of this machine: `cot.engine: ray`.

Each worker holds the model and calls the same function as one process would, so the rows are the same; what comes back
is kept by the caller, shard by shard. Not vLLM: that samples other tokens (docs/platform.md).
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import torch

from rporec.backbone import write
from rporec.backbone.generate import Sampling
from rporec.backbone.source import load_writer
from rporec.catalogue import Catalogue
from rporec.config import CotParams
from rporec.errors import InputError
from rporec.reasoning.ground import Grounder

log = logging.getLogger(__name__)
_TRIES = 3  # to start a Ray on this machine


@dataclass(frozen=True)
class RayCrew:
    """Workers of a Ray cluster, each with the model.

    Args:
        model: folder of the backbone, which every worker can read (a shared disk).
        dtype: of the weights, as for `load_writer`.
        device: "cpu", or "cuda": one GPU a worker.
        threads: CPU threads of one worker.
        workers: how many.
        address: of a running cluster; None = one is started on this machine, and ended.
    """

    model: Path
    dtype: str
    device: str
    threads: int
    workers: int
    address: str | None

    def write(
        self, shards: Mapping[int, pl.DataFrame], catalogue: Catalogue, sampling: Sampling
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the COMPLETIONS rows of each shard with its number, as they are done.

        Args:
            shards: prompts by number of their shard.
            catalogue: texts of the items.
            sampling: how to sample.
        """
        if not shards:
            return
        import ray

        _connect(self.address, self.threads * self.workers)
        try:
            rows = [{"shard": number, "tasks": _pack(tasks)} for number, tasks in shards.items()]
            done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Worker,
                fn_constructor_args=(self, ray.put(catalogue), sampling),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=self.workers),
                num_cpus=self.threads,
                num_gpus=1 if self.device == "cuda" else 0,
            )
            for row in done.iter_rows():
                yield int(row["shard"]), _unpack(row["rows"])
        finally:
            ray.shutdown()


def crew_of(params: CotParams, model: Path, dtype: str, device: str, threads: int) -> RayCrew | None:
    """Return who writes as section `cot` says; None = this process.

    Raises:
        InputError: engine ray is asked for and Ray is not installed.
    """
    if params.engine == "local":
        return None
    if find_spec("ray") is None:
        raise InputError(
            "Ray is not installed", field="cot.engine", value=params.engine, rule="local, or ray where it is installed",
            cure="make setup-ray, or set cot.engine to local",
        )  # fmt: skip
    return RayCrew(model.resolve(), dtype, device, threads, params.workers, params.ray_address)


class _Worker:
    """What a Ray actor does: load the model once, write shard after shard."""

    def __init__(self, crew: RayCrew, catalogue: Any, sampling: Sampling) -> None:  # noqa: ANN401 - a reference of Ray's
        import ray

        torch.set_num_threads(crew.threads)
        torch.use_deterministic_algorithms(mode=True)
        self._writer = load_writer(crew.model, crew.dtype, crew.device)
        self._grounder = Grounder(ray.get(catalogue))
        self._sampling = sampling

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        tasks = _unpack(batch["tasks"][0])
        rows = write.write_shard(self._writer, tasks, self._grounder, self._sampling, _no_pace)
        return {"shard": [int(batch["shard"][0])], "rows": [_pack(rows)]}


def _no_pace(groups: int, tokens: int) -> None:
    pass


def _connect(address: str | None, cpus: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    # The library is not installed: workers find it where this process runs, on a cluster by the shared disk.
    settings: dict[str, Any] = {
        "log_to_driver": False, "logging_level": "warning",
        "runtime_env": {"env_vars": {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}},
    }  # fmt: skip
    if address is None:
        _start_here(ray, {"num_cpus": cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1", **settings})
    else:
        ray.init(address=address, **settings)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False


def _start_here(ray: Any, settings: Mapping[str, Any]) -> None:  # noqa: ANN401 - a library that may be missing
    """Start a Ray on this machine; it gives its own processes 30 s, which a busy machine may pass the first time."""
    for left in reversed(range(_TRIES)):
        try:
            ray.init(address="local", **settings)
            return
        except Exception as error:  # Ray has no narrower one for this
            ray.shutdown()
            if not left:
                raise
            log.warning("ray does not start (%s); tried again", error)


def _pack(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc(buffer)
    return buffer.getvalue()


def _unpack(packed: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(packed))
