"""Makes the object store's buckets: `python -m infra.buckets NAME...`. One that is there already stays as it is.

Address and keys come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), as botocore
reads them. Not what lies in them: that is MLflow's business, and DVC's (`run.dvc_remote`).
"""

from __future__ import annotations

import argparse
import logging

from botocore.exceptions import BotoCoreError, ClientError
from s3fs import S3FileSystem

from rporec.errors import InputError
from steps.stage import guarded

log = logging.getLogger("rporec")


def make(names: list[str]) -> None:
    """Make the buckets that are not there.

    Raises:
        InputError: the object store cannot be reached, or refuses.
    """
    store = S3FileSystem()
    for name in names:
        try:
            if store.exists(name):
                log.info("buckets: %s is there", name)
                continue
            store.mkdir(name)
        except (BotoCoreError, ClientError, OSError) as error:
            raise InputError(
                f"the bucket could not be made: {error}", field="bucket", value=name,
                cure="look at AWS_ENDPOINT_URL and the two keys, and whether the object store runs",
            ) from None  # fmt: skip
        log.info("buckets: %s is made", name)


def main() -> None:
    """Parse the command line and act; bad input is one message and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help="of the buckets")
    names = parser.parse_args().names
    guarded(lambda: make(names))


if __name__ == "__main__":
    main()
