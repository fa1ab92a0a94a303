"""Where the language model computes: the CPU or one CUDA GPU. Looks only; Rechead and text encoders stay on the CPU."""

import torch

from rporec.errors import InputError


def require_device(name: str) -> None:
    """See that a device can be used, before any work is done for it.

    Args:
        name: "cpu" or "cuda", as in `run.device`.

    Raises:
        InputError: it is "cuda", and torch sees no CUDA GPU.
    """
    if name != "cuda" or torch.cuda.is_available():
        return
    why = "torch sees no GPU" if torch.version.cuda else "this build of torch is for the CPU alone"
    raise InputError(
        f"there is no CUDA device: {why}", field="run.device", value=name,
        rule="cpu, or cuda where torch.cuda.is_available()",
        cure="set run.device to cpu, or install a CUDA build of torch on a machine with an NVIDIA GPU and its driver",
    )  # fmt: skip
