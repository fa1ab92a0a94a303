"""Reasoning ahead of time for the champion: `make reasoning`. Safe to run again; the promotion schedule runs it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from infra import workspace
from infra.run import registry_uri
from infra.workspace import Workspace
from rporec.errors import InputError
from rporec.release import lookup, registry
from rporec.release.place import Place
from rporec.release.signature import trust_of
from steps.stage import guarded

log = logging.getLogger("rporec")


def fill_store(space: Workspace) -> None:
    """Write the reasoning of the champion's active users into the store of `serve.store`.

    Raises:
        InputError: there is no champion, or the tables of this workspace are not those that it was made from.
    """
    from rporec import tables
    from rporec.release import build
    from rporec.serving import served
    from rporec.serving.extend import extend
    from rporec.serving.fill import fill, user_histories
    from rporec.serving.open_store import open_store

    trust = trust_of(space.params.package.signature, os.environ)
    place, model = Place(registry_uri(space), space.home, trust=trust), lookup.model_name(space.params.run.profile)
    found = registry.champion_package(place, model)
    if found is None:
        raise InputError("there is no champion to write reasoning for", field="PROFILE", value=model, cure="make run")
    version, folder = found
    champion = served.load(folder, version, place.trust)
    interactions, items = (space.root / f"outputs/ingest/{name}.parquet" for name in ("interactions", "items"))
    events = tables.read(interactions, tables.INTERACTIONS)
    if build.data_hash(interactions, items) != champion.lineage["data_hash"]:
        raise InputError(
            "the tables of this workspace are not those that the champion was made from",
            file=interactions, field="data_hash", rule=f"must be {champion.lineage['data_hash']}",
            cure="run it in the workspace of the champion's run",
        )  # fmt: skip
    most = champion.recommender.settings.max_history
    histories = user_histories(events, space.params.serve.active_days, most)
    store = open_store(os.environ.get("RPOREC_STORE") or space.params.serve.store, space.home)
    try:
        champion = extend(champion, store.items(champion.name))  # as the service ranks
        done = fill(champion, store, histories)
        # What other aliases name stays: a rollback must not begin with an empty store. And what other profiles' aliases
        # name: they share the store.
        store.forget({champion.package_hash, *lookup.aliased(place.uri)})
    finally:
        store.close()
    log.info(
        "reasoning: version %d of %s, %d active users, %d histories, %d written now, %d ranked now",
        version.number, model, done.users, done.histories, done.written, done.ranked,
    )  # fmt: skip


def main() -> None:
    """Fill the store for PROFILE in the current folder."""
    guarded(lambda: fill_store(workspace.existing(os.environ.get("PROFILE", "").strip(), Path.cwd())))


if __name__ == "__main__":
    main()
