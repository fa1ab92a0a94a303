"""Files in an object store (s3://): their names, checksums and first bytes; how Polars opens them.

Keys, region and endpoint come from the usual AWS_* variables or ~/.aws, which botocore reads, never from a URL. A
store is spoken to without encryption only when AWS_ENDPOINT_URL itself says http.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from rporec.errors import InputError

if TYPE_CHECKING:
    import s3fs

_RULE = "s3://bucket/folder"
_DEPTH = 2  # a table is a file, or a folder of files
_SECONDS = 10  # until a store that does not answer counts as unreachable
_AMAZON = ".amazonaws.com"  # endpoints that Polars finds by itself


def names(place: str) -> list[str]:
    """Return the names of the files one or two levels below a place, with `/`, sorted.

    Raises:
        InputError: the store cannot be read, or nothing lies at the place.
    """
    root = _path(place).rstrip("/")
    with _told(place) as store:
        found = sorted(path.removeprefix(f"{root}/") for path in store.find(root, maxdepth=_DEPTH))
        if not found or found == [root]:
            raise FileNotFoundError
    return found


def checksum(url: str) -> dict[str, object]:
    """Return what tells two states of a file apart: `etag`, and `bytes`.

    Raises:
        InputError: the file cannot be read.
    """
    with _told(url) as store:
        info = store.info(_path(url))
    return {"etag": str(info["ETag"]).strip('"'), "bytes": int(info["size"])}


def head(url: str, length: int) -> bytes:
    """Return at most `length` first bytes of a file.

    Raises:
        InputError: the file cannot be read.
    """
    with _told(url) as store:
        size = min(length, int(store.info(_path(url))["size"]))
        read: bytes = store.cat_file(_path(url), start=0, end=size) if size else b""
    return read


@cache
def storage_options() -> dict[str, str]:
    """Return what Polars needs beside the URL: keys, region, endpoint; as they were at the first call."""
    from botocore.session import Session

    session = Session()
    region = session.get_config_variable("region") or "us-east-1"  # what stores that know no regions are used to
    endpoint: str = session.create_client("s3", region_name=region).meta.endpoint_url
    options = {"aws_region": region}
    if not endpoint.endswith(_AMAZON):
        options |= {"aws_endpoint_url": endpoint, "aws_allow_http": str(endpoint.startswith("http://")).lower()}
    keys = session.get_credentials()
    if keys is not None:
        found = keys.get_frozen_credentials()
        options |= {"aws_access_key_id": found.access_key, "aws_secret_access_key": found.secret_key}
        options |= {"aws_session_token": found.token} if found.token else {}
    return options


def _path(place: str) -> str:
    scheme, _, path = place.partition("://")
    if scheme != "s3" or not path.strip("/") or "@" in path.partition("/")[0]:
        raise InputError(
            "this place of files cannot be read",
            field="DATA", value=f"{scheme}://...", rule=f"{_RULE}, or a path of this machine",
            cure="copy the files to one of them (keys go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
        )  # fmt: skip
    return path


@contextmanager
def _told(place: str) -> Iterator[s3fs.S3FileSystem]:
    """Yield the store; turn what it throws into InputError."""
    import s3fs
    from botocore import exceptions as boto

    _path(place)
    limits = {"connect_timeout": _SECONDS, "read_timeout": 60, "retries": {"max_attempts": 2}}
    try:
        yield s3fs.S3FileSystem(config_kwargs=limits, use_listings_cache=False)  # files may have come since
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound) as error:
        cure = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise InputError(f"no keys for the object store: {error}", file=place, cure=cure) from None
    except PermissionError as error:
        cure = "check the AWS_* keys and what they may read"
        raise InputError(f"the object store refuses: {error}", file=place, cure=cure) from None
    except FileNotFoundError:
        raise InputError(
            "nothing lies at this place of the object store",
            file=place, rule=_RULE, cure="correct bucket and folder, or AWS_ENDPOINT_URL",
        ) from None  # fmt: skip
    except (boto.BotoCoreError, boto.ClientError, OSError) as error:
        raise InputError(
            f"the object store cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}",
            file=place, cure="check AWS_ENDPOINT_URL and the network",
        ) from None  # fmt: skip
