"""Can the files of a model name be had? One look, so that a missing network is told at once and not after retries.

And what is said when it cannot be loaded. Downloads nothing: `rporec.backbone.source` and `rporec.encode.pretrained`
load.
"""

from pathlib import Path

import httpx2  # the client of huggingface_hub
from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from rporec.errors import InputError

_SECONDS = 10.0
_CONFIG = "config.json"


class UnreachableError(Exception):
    """A model name that cannot be loaded here; the message says why and what to set."""


def must_use_cache(name: str, file: str = _CONFIG) -> bool:
    """Return whether only the local cache of the hub can give this model: offline, or the hub is out of reach.

    Args:
        name: a model name, `owner/model`.
        file: one that every such model has.

    Raises:
        UnreachableError: it is neither in the cache nor on the hub, or is no name at all.
    """
    try:
        cached = isinstance(try_to_load_from_cache(name, file), str)
        url = hf_hub_url(name, file)
    except HFValidationError as error:
        raise UnreachableError("there is no such folder, and it is no model name (owner/model)") from error
    if is_offline_mode():
        if cached:
            return True
        raise UnreachableError(
            "HF_HUB_OFFLINE is set and HF_HOME does not hold the model: unset the one or fill the other"
        )
    try:
        get_hf_file_metadata(url, timeout=_SECONDS)
    except GatedRepoError as error:
        raise UnreachableError(
            "its owner wants to be asked first: accept the terms on its page, set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise UnreachableError(
            "the hub knows no such model, or it is private: correct the name or set HF_TOKEN"
        ) from error
    except (HfHubHTTPError, httpx2.RequestError, OSError) as error:
        if cached:
            return True
        raise UnreachableError(
            f"the hub cannot be reached ({type(error).__name__}) and HF_HOME does not hold the model: "
            "connect this machine, set HF_ENDPOINT to a mirror, or copy the model here"
        ) from error
    return False


def unusable(field: str, source: str | Path, why: str, needs: str, instead: str) -> InputError:
    """Return the error of a model that cannot be loaded.

    Args:
        field: the parameter that names it, `section.key`.
        source: folder or name.
        why: what the loader said.
        needs: what a folder of such a model holds.
        instead: what to set to do without, as in `set rechead.encoder to embedded`.
    """
    return InputError(
        f"the model cannot be loaded: {why}",
        field=field,
        value=str(source),
        rule=f"a folder with {needs}, or a model name that can be reached",
        cure=f"set {field} to a folder on this machine (a name needs the network or the model in HF_HOME; HF_ENDPOINT "
        f"names a mirror), or {instead}",
    )
