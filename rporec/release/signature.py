"""Who made a package: signatures over its hash, by a shared secret (HMAC-SHA256) or a key pair (Ed25519).

Keys come in as values, hexadecimal, from whoever holds them (the environment, never a file of the project). The
package's hash covers every byte but the manifest, so a signature over it vouches for all of them. Not encryption.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rporec.errors import InputError
from rporec.release import manifest
from rporec.release.manifest import Manifest, Signature

Scheme = Literal["none", "hmac", "ed25519"]
SIGNING_KEY, VERIFY_KEY = "RPOREC_SIGNING_KEY", "RPOREC_VERIFY_KEY"  # environment variables
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_KEY_RULE = "64 hexadecimal digits (32 bytes), as python -c 'import secrets; print(secrets.token_hex(32))' prints"


@dataclass(frozen=True)
class Trust:
    """Which packages are let in.

    Args:
        scheme: `none` lets unsigned ones in and looks at no signature; else only this scheme counts.
        keys: any of them may have signed (several while a key is replaced): secrets of hmac, public keys of ed25519.
    """

    scheme: Scheme
    keys: tuple[bytes, ...] = field(default=(), repr=False)


UNSIGNED = Trust("none")


def trust_of(scheme: Scheme, environment: Mapping[str, str]) -> Trust:
    """Return whom to trust: the keys in RPOREC_VERIFY_KEY (commas between) and the one that RPOREC_SIGNING_KEY implies.

    Args:
        scheme: `package.signature`.
        environment: variables by name.

    Raises:
        InputError: the scheme wants a key and there is none, or one is not 64 hexadecimal digits.
    """
    if scheme == "none":
        return UNSIGNED
    keys = [_parsed(VERIFY_KEY, text) for text in environment.get(VERIFY_KEY, "").split(",") if text.strip()]
    if environment.get(SIGNING_KEY):
        secret = _parsed(SIGNING_KEY, environment[SIGNING_KEY])
        keys.append(secret if scheme == "hmac" else public_key(secret))
    if not keys:
        raise InputError(
            "there is no key to check packages with",
            field=VERIFY_KEY, rule=f"package.signature is {scheme}",
            cure="put the key (of ed25519 the public one, make verify-key prints it) into the environment",
        )  # fmt: skip
    return Trust(scheme, tuple(keys))


def signer(scheme: Scheme, environment: Mapping[str, str]) -> Callable[[str], Signature | None]:
    """Return what signs package hashes with the key in RPOREC_SIGNING_KEY; with scheme `none` it signs nothing.

    Raises:
        InputError: the scheme wants a key and there is none, or it is not 64 hexadecimal digits.
    """
    if scheme == "none":
        return lambda _: None
    if not environment.get(SIGNING_KEY):
        raise InputError(
            "there is no key to sign the package with",
            field=SIGNING_KEY, rule=f"package.signature is {scheme}", cure="put the key into the environment",
        )  # fmt: skip
    secret = _parsed(SIGNING_KEY, environment[SIGNING_KEY])
    make = _hmac if scheme == "hmac" else _ed25519
    return lambda package_hash: Signature(scheme, make(secret, _message(package_hash)).hex())


def public_key(secret: bytes) -> bytes:
    """Return the public key of an Ed25519 secret, 32 bytes both."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def verify(folder: Path, trust: Trust) -> Manifest:
    """Check that a package is whole (`manifest.verify`) and signed as `trust` asks.

    Raises:
        InputError: it is not whole, unsigned, signed by another scheme or another key.
    """
    found = manifest.verify(folder)
    if trust.scheme == "none":
        return found
    file, signature = folder / manifest.FILE_NAME, found.signature
    if signature is None or signature.scheme != trust.scheme:
        raise InputError(
            "the package is not signed" if signature is None else "the package is signed by another scheme",
            file=file, field="signature", value=signature and signature.scheme,
            rule=f"package.signature is {trust.scheme}",
            cure="promote one that is signed (package.signature and the key set, make run), or take it from its maker",
        )  # fmt: skip
    if not any(_holds(trust.scheme, key, signature, found.package_hash) for key in trust.keys):
        raise InputError(
            "the package is signed with another key",
            file=file, field="signature", rule=f"made with a key of {VERIFY_KEY} or {SIGNING_KEY}",
            cure="find out who made it; where a key was replaced, give the old one too, with a comma between",
        )  # fmt: skip
    return found


def _holds(scheme: Scheme, key: bytes, signature: Signature, package_hash: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.constant_time import bytes_eq

    try:
        value = bytes.fromhex(signature.value)
        if scheme == "hmac":
            return bytes_eq(_hmac(key, _message(package_hash)), value)
        Ed25519PublicKey.from_public_bytes(key).verify(value, _message(package_hash))
    except (ValueError, InvalidSignature):
        return False
    return True


def _message(package_hash: str) -> bytes:
    return f"rporec package {package_hash}\n".encode()


def _hmac(secret: bytes, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.hmac import HMAC

    made = HMAC(secret, SHA256())
    made.update(message)
    return made.finalize()


def _ed25519(secret: bytes, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret).sign(message)


def _parsed(name: str, text: str) -> bytes:
    if _KEY.fullmatch(text.strip()) is None:  # the text itself is never shown
        raise InputError("the key cannot be read", field=name, rule=_KEY_RULE, cure="give a key of that form")
    return bytes.fromhex(text.strip())
