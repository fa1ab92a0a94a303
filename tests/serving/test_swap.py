"""What a replaced model held goes back to the system, once, when nobody holds the model any more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rporec.release.lookup import Version
from rporec.serving import swap
from rporec.serving.served import Served
from rporec.serving.store_sqlite import SqliteStore


class Alias:
    """An alias that points where the test says."""

    alias = "champion"

    def __init__(self, model: Served) -> None:
        self.number, self._model = 1, model

    def version(self) -> Version:
        return Version(self._model.name, self.number, "", "", {"package_hash": self._model.package_hash})

    def load(self, version: Version) -> Served:
        return replace(self._model, version=version.number)


def test_memory_is_given_back_a_look_after_a_swap(
    model: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    alias = Alias(model)
    store = SqliteStore(tmp_path / "serving.db")
    follows = swap.Swap(alias.load(alias.version()), alias, store)  # type: ignore[arg-type]
    monkeypatch.setattr(swap.memory, "give_back", lambda: given.append(alias.number))
    for looks in ([], [], "swap", [2], [2]):
        if looks == "swap":
            alias.number, looks = 2, []
        follows.look()
        assert given == looks
    assert follows.current is not None
    assert follows.current.version == 2
    store.close()
