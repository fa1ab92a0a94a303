"""Hot swap: which model serves follows an alias of the registry, without a restart.

A new model is loaded, verified and warmed beside the old one and then put in its place by one assignment; requests
under way keep the one they hold. What cannot be loaded is refused and told, and the old one goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rporec.errors import InputError
from rporec.release import lookup, registry
from rporec.release.lookup import Version
from rporec.release.place import Place
from rporec.serving import memory
from rporec.serving.extend import extend
from rporec.serving.served import Served, load, warm
from rporec.serving.store import Store, StoreError

log = logging.getLogger(__name__)
_RETRY_SECONDS = 30.0  # until a refused version is tried again: a copy may have been incomplete


@dataclass(frozen=True)
class Refusal:
    """A version that was to serve and could not: its number, the hash it was to have, and why (no paths)."""

    version: int
    package_hash: str
    problem: str


@dataclass(frozen=True)
class Wanted:
    """Which model is to serve.

    Args:
        place: the registry.
        model: registered name.
        alias: champion or challenger.
    """

    place: Place
    model: str
    alias: str

    def version(self) -> Version | None:
        """Return the version that the alias points at now."""
        return lookup.by_alias(self.place.uri, self.model, self.alias)

    def load(self, version: Version) -> Served:
        """Fetch, verify and load a version.

        Raises:
            InputError: it is not the package that it was made for, or cannot be loaded.
        """
        return load(registry.local_package(self.place, version), version, self.place.trust)


class Swap:
    """The model that serves.

    Args:
        base: the model as loaded; None = nothing yet.
        wanted: what to follow; None = the first model stays.
        store: of added items.
        told: called with each model that begins to serve.
    """

    def __init__(
        self, base: Served | None, wanted: Wanted | None, store: Store, told: Callable[[Served], None] | None = None
    ) -> None:
        self._wanted, self._store, self._base, self._told = wanted, store, base, told
        self._lock = threading.Lock()
        self._retry_at = 0.0
        self._left_over = False  # memory of the model that was replaced
        self._ends = threading.Event()
        self.current: Served | None = base
        self.refused: Refusal | None = None
        self.trouble: str | None = None
        if base is not None and told is not None:
            told(base)

    def look(self) -> None:
        """Look once: follow the alias, take added items in. Never raises: what is wrong is told in `/model`."""
        with self._lock:
            self.trouble = None
            if self._left_over:  # by now the requests that held the old model are answered
                self._left_over = False
                memory.give_back()
            for step in (self._follow, self._take_items):
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - the old model serves on, whatever it is
                    self.trouble = f"{type(error).__name__} while looking for a new model or items"
                    log.warning("serving on as before: %s", error)

    def start(self, seconds: float) -> None:
        """Look every so many seconds until `stop`."""
        threading.Thread(target=self._watch, args=(seconds,), name="swap", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ends.set()

    def _watch(self, seconds: float) -> None:
        while not self._ends.wait(seconds):
            self.look()

    def _follow(self) -> None:
        version = None if self._wanted is None else self._wanted.version()
        if self._wanted is None or version is None:
            if self._wanted is not None and self._wanted.alias == lookup.CHALLENGER:
                self._base = self.current = self.refused = None
            return  # a champion's alias that is gone for a moment takes no model from users
        base = self._base
        if base is not None and (base.version, base.package_hash) == (version.number, version.package_hash):
            self.refused = None
            return
        same = self.refused is not None and (self.refused.version, self.refused.package_hash) == (
            version.number, version.package_hash,
        )  # fmt: skip
        if same and time.monotonic() < self._retry_at:
            return
        self._replace(self._wanted.load, version)

    def _replace(self, load_version: Callable[[Version], Served], version: Version) -> None:
        try:
            fresh = load_version(version)
            ready = self._with_items(fresh)
        except Exception as error:  # noqa: BLE001 - a broken package can fail anywhere; users keep the old one
            problem = error.problem if isinstance(error, InputError) else type(error).__name__
            self.refused = Refusal(version.number, version.package_hash, problem)
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            log.warning("version %d is refused, the old one serves on: %s", version.number, error)
            return
        self._left_over = self.current is not None
        self._base, self.refused = fresh, None
        self.current = ready
        if self._told is not None:
            self._told(ready)
        log.info("version %d (package %s) serves from now on", version.number, version.package_hash[:12])

    def _take_items(self) -> None:
        base, current = self._base, self.current
        if base is not None and current is not None and self._store.items_added(base.name) != current.added:
            self.current = self._with_items(base)

    def _with_items(self, base: Served) -> Served:
        try:
            items = self._store.items(base.name)
        except StoreError as error:
            log.warning("the items added are not known now: %s", error)
            return base
        if not items:
            return base
        ready = extend(base, items)
        warm(ready)
        return ready
