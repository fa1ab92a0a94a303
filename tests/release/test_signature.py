from __future__ import annotations

import json
from pathlib import Path

import pytest

from rporec.errors import InputError
from rporec.release import manifest, signature
from rporec.release.signature import SIGNING_KEY, UNSIGNED, VERIFY_KEY, Scheme, signer, trust_of

KEY, OTHER = "11" * 32, "22" * 32
SCHEMES: tuple[Scheme, ...] = ("hmac", "ed25519")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/a.json").write_text("{}")
    return tmp_path / "package"


def _public(secret: str) -> str:
    return signature.public_key(bytes.fromhex(secret)).hex()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_its_own_key_opens_and_another_does_not(folder: Path, scheme: Scheme) -> None:
    made = manifest.write(folder, signer(scheme, {SIGNING_KEY: KEY}))
    assert signature.verify(folder, trust_of(scheme, {SIGNING_KEY: KEY})) == made
    with pytest.raises(InputError, match="signed with another key"):
        signature.verify(folder, trust_of(scheme, {SIGNING_KEY: OTHER}))


def test_a_service_needs_the_public_key_alone_and_may_know_several(folder: Path) -> None:
    manifest.write(folder, signer("ed25519", {SIGNING_KEY: KEY}))
    signature.verify(folder, trust_of("ed25519", {VERIFY_KEY: _public(KEY)}))
    signature.verify(folder, trust_of("ed25519", {VERIFY_KEY: f"{_public(OTHER)}, {_public(KEY)}"}))
    with pytest.raises(InputError, match="signed with another key"):
        signature.verify(folder, trust_of("ed25519", {VERIFY_KEY: KEY}))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_unsigned_passes_only_where_the_params_say_so(folder: Path, scheme: Scheme) -> None:
    manifest.write(folder)
    signature.verify(folder, UNSIGNED)
    with pytest.raises(InputError, match="is not signed"):
        signature.verify(folder, trust_of(scheme, {SIGNING_KEY: KEY}))


def test_one_scheme_does_not_stand_for_the_other(folder: Path) -> None:
    """A public key is no secret: with it anybody could make an hmac."""
    manifest.write(folder, signer("hmac", {SIGNING_KEY: _public(KEY)}))
    with pytest.raises(InputError, match="another scheme"):
        signature.verify(folder, trust_of("ed25519", {VERIFY_KEY: _public(KEY)}))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_signature_is_of_these_bytes_alone_and_outside_the_packages_name(folder: Path, scheme: Scheme) -> None:
    unsigned = manifest.write(folder).package_hash
    sign = signer(scheme, {SIGNING_KEY: KEY})
    first = manifest.write(folder, sign)
    assert first.package_hash == unsigned
    assert manifest.write(folder, sign) == first, "the same bytes and key, the same signature"
    (folder / "a.json").write_text("[]")
    manifest.write(folder, lambda _: first.signature)
    with pytest.raises(InputError, match="signed with another key"):
        signature.verify(folder, trust_of(scheme, {SIGNING_KEY: KEY}))


@pytest.mark.parametrize("value", ["", "zz", "00" * 32, "00" * 64, 7, None])
def test_a_signature_that_is_none_is_refused(folder: Path, value: object) -> None:
    manifest.write(folder, signer("ed25519", {SIGNING_KEY: KEY}))
    path = folder / manifest.FILE_NAME
    stated = json.loads(path.read_text())
    stated["signature"]["value"] = value
    path.write_text(json.dumps(stated))
    with pytest.raises(InputError, match="signed with another key"):
        signature.verify(folder, trust_of("ed25519", {SIGNING_KEY: KEY}))


def test_a_changed_file_of_a_signed_package_is_named(folder: Path) -> None:
    manifest.write(folder, signer("hmac", {SIGNING_KEY: KEY}))
    (folder / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"changed\n  file: .*a\.json"):
        signature.verify(folder, trust_of("hmac", {SIGNING_KEY: KEY}))


@pytest.mark.parametrize("text", ["short", "g" * 64, "11" * 31, "11" * 33])
def test_a_key_of_another_form_is_refused_and_not_shown(text: str) -> None:
    for ask in (trust_of, signer):
        with pytest.raises(InputError, match="the key cannot be read") as told:
            ask("hmac", {SIGNING_KEY: text})
        assert text not in told.value.message()


def test_a_missing_key_is_told_before_anything_is_made() -> None:
    with pytest.raises(InputError, match="no key to check"):
        trust_of("ed25519", {VERIFY_KEY: " "})
    with pytest.raises(InputError, match="no key to sign"):
        signer("hmac", {VERIFY_KEY: KEY})


def test_no_key_is_wanted_where_the_params_say_none(folder: Path) -> None:
    assert trust_of("none", {}) == UNSIGNED
    assert manifest.write(folder, signer("none", {})).signature is None


def test_keys_do_not_show() -> None:
    assert "\\x11" not in repr(trust_of("hmac", {SIGNING_KEY: KEY}))
