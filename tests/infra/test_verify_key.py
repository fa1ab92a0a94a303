from __future__ import annotations

from pathlib import Path

import pytest

from infra import verify_key
from rporec.errors import InputError
from rporec.release import manifest, signature
from tests import project


def test_the_key_printed_opens_what_the_signing_key_signed(tmp_path: Path) -> None:
    secret = {signature.SIGNING_KEY: "66" * 32}
    (tmp_path / "a.json").write_text("{}")
    manifest.write(tmp_path, signature.signer("ed25519", secret))
    done = project.make(project.ROOT, "-s", "verify-key", **secret)
    assert done.returncode == 0, done.stderr
    signature.verify(tmp_path, signature.trust_of("ed25519", {signature.VERIFY_KEY: done.stdout.split()[-1]}))
    assert "66" * 8 not in done.stdout


def test_without_a_key_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=signature.SIGNING_KEY):
        verify_key.shown()
    monkeypatch.setenv(signature.SIGNING_KEY, "short")
    with pytest.raises(InputError, match="cannot be read"):
        verify_key.shown()
