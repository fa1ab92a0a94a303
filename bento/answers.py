"""Between the schemas and the library: requests become asks, answers become schemas."""

from __future__ import annotations

import math

from bento import schemas
from rporec.recommender import Item
from rporec.serving.desk import Answer, Ask
from rporec.serving.filters import Filters
from rporec.serving.served import Served
from rporec.serving.store import NewItem


class UnknownItemError(Exception):
    """No item has this id."""


def asked(query: schemas.Query) -> Ask:
    """Return what a request asks for."""
    body = query.filters
    return Ask(
        history=None if query.history is None else tuple(query.history),
        user_id=query.user_id,
        k=query.k,
        filters=Filters(tuple(body.categories), body.min_price, body.max_price, query.exclude_seen),
        explain=query.explain,
    )


def told(answer: Answer) -> schemas.Recommended:
    """Return an answer as it goes over the wire."""
    why = answer.explanation
    return schemas.Recommended(
        items=_ranked(answer),
        thought=answer.reasoning.thought if answer.reasoning else "",
        answer=answer.reasoning.answer if answer.reasoning else "",
        reasoning_source=answer.source,
        ranking=answer.ranking,
        unknown_ids=list(answer.unknown_ids),
        without_reasoning=None if why is None else [_plain(item) for item in why.without_reasoning],
        model=info(answer.served),
    )


def info(served: Served) -> schemas.ModelInfo:
    """Return which model answers."""
    return schemas.ModelInfo(name=served.name, version=served.version, package_hash=served.package_hash)


def found(served: Served, words: str, limit: int) -> schemas.FoundItems:
    """Return what a search finds."""
    items = served.finder.search(words, limit)
    return schemas.FoundItems(items=[_item(served, item) for item in items])


def similar(served: Served, item_id: str, k: int) -> schemas.Similar:
    """Return the items most like one in text.

    Raises:
        UnknownItemError: no item has this id.
    """
    near = served.nearest(_place(served, item_id), k)
    items = [schemas.SimilarItem(**_item(served, one).model_dump(), similarity=cosine) for one, cosine in near]
    return schemas.Similar(item_id=item_id, items=items, model=info(served))


def catalogue_item(served: Served, item_id: str) -> schemas.CatalogueItem:
    """Return an item.

    Raises:
        UnknownItemError: no item has this id.
    """
    return _item(served, _place(served, item_id))


def new_item(body: schemas.ItemBody) -> NewItem:
    """Return the item that a request adds."""
    return NewItem(**body.model_dump())


def _place(served: Served, item_id: str) -> int:
    place = served.recommender.catalogue.index.get(item_id)
    if place is None:
        raise UnknownItemError(item_id)
    return place


def _item(served: Served, place: int) -> schemas.CatalogueItem:
    catalogue = served.recommender.catalogue
    price = float(catalogue.prices[place])
    return schemas.CatalogueItem(
        item_id=catalogue.item_ids[place], title=catalogue.titles[place], brand=catalogue.brands[place],
        category=catalogue.categories[place], price=None if math.isnan(price) else price,
    )  # fmt: skip


def _ranked(answer: Answer) -> list[schemas.RankedItem]:
    items = [_plain(item) for item in answer.items]
    why, catalogue = answer.explanation, answer.served.recommender.catalogue
    if why is None:
        return items
    explained = []
    for item, supports, rank in zip(items, why.rests_on, why.rank_without_reasoning, strict=True):
        rests_on = [
            schemas.HistoryItem(
                item_id=catalogue.item_ids[one.item], title=catalogue.titles[one.item], weight=one.weight
            )
            for one in supports
        ]
        explained.append(item.model_copy(update={"rests_on": rests_on, "rank_without_reasoning": rank}))
    return explained


def _plain(item: Item) -> schemas.RankedItem:
    return schemas.RankedItem(item_id=item.item_id, title=item.title, score=item.score)
