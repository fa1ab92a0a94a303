"""The parts of a running service, put together: the model that serves, store, writer, shadow, limits."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import asdict, dataclass

from bento.metrics import Meters
from bento.settings import Settings
from rporec.errors import InputError
from rporec.release import lookup
from rporec.release.lookup import CHALLENGER
from rporec.serving.desk import Desk
from rporec.serving.limits import Rate, Room
from rporec.serving.live import LiveWriter
from rporec.serving.open_store import open_store
from rporec.serving.served import Served, load
from rporec.serving.shadow import Shadow
from rporec.serving.store import Store
from rporec.serving.swap import Swap, Wanted

log = logging.getLogger("rporec.service")


@dataclass(frozen=True)
class Runtime:
    """What routes work with."""

    settings: Settings
    store: Store
    live: LiveWriter
    desk: Desk
    champion: Swap
    challenger: Swap | None
    shadow: Shadow | None
    rate: Rate
    room: Room
    meters: Meters

    @property
    def served(self) -> Served:
        """The model of this moment; a request asks once and holds it."""
        current = self.champion.current
        assert current is not None  # a service without a model does not start
        return current

    def describe(self) -> dict[str, object]:
        """Return what `GET /model` answers."""
        served, swap = self.served, self.champion
        today = dt.datetime.now(dt.UTC).date()
        return {
            "name": served.name,
            "version": served.version,
            "package_hash": served.package_hash,
            **freshness(served.lineage.get("as_of", ""), self.settings.max_age_days, today),
            "lineage": dict(served.lineage),
            "registered": dict(served.tags),
            "verdict": served.tags.get("verdict"),
            "settings": asdict(served.recommender.settings),
            "items": served.recommender.catalogue.n,
            "refused": None if swap.refused is None else asdict(swap.refused),
            "trouble": swap.trouble,
            "challenger": self._challenger(),
        }

    def close(self) -> None:
        """Stop threads, let go of the store."""
        for swap in (self.champion, self.challenger):
            if swap is not None:
                swap.stop()
        if self.shadow is not None:
            self.shadow.stop()
        self.live.close()
        self.desk.close()
        self.store.close()

    def _challenger(self) -> int | None:
        current = None if self.challenger is None else self.challenger.current
        return None if current is None else current.version


def start(settings: Settings) -> Runtime:
    """Load the model and start what follows the registry.

    Raises:
        InputError: there is no model to serve, or it is not whole, or the store cannot be made.
    """
    serve, meters = settings.serve, Meters(settings.max_age_days)
    store = open_store(settings.store, settings.place.home)
    wanted = None if settings.package else Wanted(settings.place, settings.model, lookup.CHAMPION)
    champion = Swap(first_model(settings), wanted, store, meters.model)
    champion.look()
    champion.start(serve.poll_seconds)
    challenger, shadow = None, None
    if serve.shadow_share and wanted is not None:
        challenger = Swap(None, Wanted(settings.place, settings.model, CHALLENGER), store)
        challenger.start(serve.poll_seconds)
        shadow = Shadow(lambda: challenger.current, serve.shadow_share, meters.comparison)
    live = LiveWriter(store, serve.live_seconds)
    rate, room = Rate(serve.client_rate, serve.client_burst), Room(serve.max_concurrency)
    return Runtime(settings, store, live, Desk(store, live), champion, challenger, shadow, rate, room, meters)


def first_model(settings: Settings) -> Served:
    """Load the package that is given, else the champion.

    Raises:
        InputError: there is neither, or it is not whole.
    """
    if settings.package is not None:
        return load(settings.package, trust=settings.place.trust)
    wanted = Wanted(settings.place, settings.model, lookup.CHAMPION)
    version = wanted.version()
    if version is None:
        raise InputError(
            "there is no champion to serve", field="model", value=settings.model, rule="alias champion in the registry",
            cure="make run first (or name a package folder in RPOREC_PACKAGE)",
        )  # fmt: skip
    return wanted.load(version)


def freshness(as_of: str, max_age_days: int, today: dt.date) -> dict[str, object]:
    """Return the age of a model's data in days, and whether it is above the limit; null where it is not known."""
    try:
        age = (today - dt.date.fromisoformat(as_of)).days
    except ValueError:  # a given split has no dates
        return {"data_age_days": None, "stale": None}
    return {"data_age_days": age, "stale": age > max_age_days}
