"""Prints the key that services check packages with: `python -m infra.verify_key`, of the one in RPOREC_SIGNING_KEY.

The public half of an Ed25519 key, for RPOREC_VERIFY_KEY. With package.signature hmac both sides share one secret.
"""

from __future__ import annotations

import os
import sys

from rporec.release import signature
from steps.stage import guarded


def main() -> None:
    """Print the public key, hexadecimal; exit 1 with one message where there is none to make it from."""
    guarded(lambda: sys.stdout.write(f"{shown()}\n"))


def shown() -> str:
    """Return the public key of the signing key in the environment.

    Raises:
        InputError: there is none, or it is not 64 hexadecimal digits.
    """
    signature.signer("ed25519", os.environ)  # refuses a key that is missing or malformed
    return signature.public_key(bytes.fromhex(os.environ[signature.SIGNING_KEY].strip())).hex()


if __name__ == "__main__":
    main()
