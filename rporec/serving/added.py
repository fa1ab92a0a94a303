"""Adding an item to the running catalogue: checked against what serves, kept in the store, ranked from now on."""

from __future__ import annotations

from rporec.serving.store import NewItem, Store
from rporec.serving.swap import Swap


class TakenError(Exception):
    """An item of this id is in the catalogue already."""


class FullError(Exception):
    """So many items were added that a new model should learn them."""


_MOST = 10_000  # every one is encoded anew at each start


def admit(swap: Swap, store: Store, item: NewItem) -> None:
    """Add an item, and return when it is ranked.

    Raises:
        TakenError: its id is in the catalogue.
        FullError: too many were added.
        StoreError: the store cannot be reached.
    """
    served = swap.current
    if served is None or item.item_id in served.recommender.catalogue.index:
        raise TakenError(item.item_id)
    if store.items_added(served.name) >= _MOST:
        raise FullError(f"{_MOST} items were added to this model")
    if not store.add_item(served.name, item):
        raise TakenError(item.item_id)
    swap.look()
