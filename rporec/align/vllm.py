"""The vLLM server of `align.vllm`: there, and usable, before anything is trained.

Sampling by it is TRL's (`use_vllm`, server mode); what it draws is not a function of our seed.
"""

from __future__ import annotations

import httpx
from trl.import_utils import is_vllm_available

from rporec.config import VllmParams
from rporec.errors import InputError

_FIELD = "align.vllm.url"
_START = (
    'start it (VLLM_SERVER_DEV_MODE=1 vllm serve <backbone folder> --weight-transfer-config \'{"backend": "nccl"}\')'
)


def require_server(params: VllmParams) -> None:
    """Refuse a server that does not answer, or a machine without the package; null asks for none.

    Raises:
        InputError: the server is not there or not well, or the package `vllm` is not installed.
    """
    if params.url is None:
        return
    health, cure = f"{params.url.rstrip('/')}/health", f"{_START}, or set {_FIELD} to null: sampling is done here"
    try:
        status = httpx.get(health, timeout=params.timeout).status_code
    except httpx.HTTPError as error:
        raise InputError(
            "the vLLM server does not answer", field=_FIELD, value=params.url,
            rule=f"an answer of {health} within {params.timeout:g} s ({type(error).__name__})", cure=cure,
        ) from error  # fmt: skip
    if status != httpx.codes.OK:
        raise InputError(
            "the vLLM server is not well", field=_FIELD, value=f"{health} answers {status}", rule="200", cure=cure
        )
    if not is_vllm_available():
        raise InputError(
            "the package vllm is not installed, which sends the policy's weights to the server", field=_FIELD,
            value=params.url, rule="the package vllm beside TRL",
            cure=f"install vllm into this environment, or set {_FIELD} to null: sampling is done here",
        )  # fmt: skip
