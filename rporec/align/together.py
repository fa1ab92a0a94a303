"""Starting the processes that train together: accelerate's launcher with one of the files in infra/accelerate.

Each process runs the same module and finds its part by what the launcher tells it; what they leave in the work folder
is the result. One machine; the launcher's own options go further.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from accelerate import PartialState

from rporec.config import AlignParams
from rporec.errors import InputError


def launch_command(params: AlignParams, config: Path, module: str) -> list[str]:
    """Return the command that starts `align.processes` processes of a module.

    Args:
        params: `processes` is above 1.
        config: accelerate's file.
        module: dotted name.
    """
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    return [*launcher, "--config_file", str(config), "--num_processes", str(params.processes), "--module", module]


def train_together(params: AlignParams, device: str, root: Path, module: str) -> None:
    """Run the processes to their end.

    Args:
        params: `processes` is above 1.
        device: `cpu` or `cuda`.
        root: workspace root, which holds infra/accelerate and in which the processes run.
        module: dotted name of what each runs.

    Raises:
        InputError: the file is missing, weights should be sharded on the CPU, or a process failed; it has said why.
    """
    if params.parallel == "fsdp" and device == "cpu":
        raise InputError(
            "accelerate does not shard weights on the CPU", field="align.parallel", value="fsdp",
            rule="ddp with run.device cpu", cure="set align.parallel to ddp, or run.device to cuda",
        )  # fmt: skip
    config = root / "infra" / "accelerate" / f"{params.parallel}.yaml"
    if not config.is_file():
        raise InputError(
            "the launcher's file is missing", file=config, field="align.parallel", value=params.parallel,
            cure="restore the file, or set align.processes to 1",
        )  # fmt: skip
    done = subprocess.run(launch_command(params, config, module), cwd=root, check=False)
    if done.returncode:
        raise InputError(
            "the processes that train together did not come to an end", field="align.processes",
            value=params.processes, rule=f"exit code 0, not {done.returncode}",
            cure="mend what they said above; with align.processes 1 one process does all",
        )  # fmt: skip


def join(device: str) -> None:
    """Meet the other processes; from here on `cuda` is this one's own GPU, and only the first one speaks.

    Args:
        device: `cpu` or `cuda`.
    """
    if not PartialState(cpu=device == "cpu").is_main_process:
        logging.getLogger("rporec").setLevel(logging.ERROR)
