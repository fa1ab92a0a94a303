"""Which prompts are computed together: those of like length, padded to the left where the model can be told of it.

Not the shards of `write`, which are what a killed run goes on from.
"""

import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby

from transformers import PreTrainedModel


def takes_positions(model: PreTrainedModel) -> bool:
    """Tell whether a model can be told where a padded prompt starts; BLOOM and MPT, for two, cannot."""
    return _names_positions(type(model))  # type: ignore[arg-type]  # classes are hashable


@cache
def _names_positions(kind: type[PreTrainedModel]) -> bool:
    return "position_ids" in inspect.signature(kind.forward).parameters


def batches_by_length(lengths: Sequence[int], most: int, *, may_pad: bool) -> Iterator[list[int]]:
    """Yield the places of each batch, the shortest prompts first.

    Args:
        lengths: of the prompts (tokens).
        most: prompts of a batch, at least 1.
        may_pad: whether a batch may hold prompts of several lengths.
    """
    order = sorted(range(len(lengths)), key=lambda place: (lengths[place], place))
    for _, same in groupby(order, key=lambda place: 0 if may_pad else lengths[place]):
        places = list(same)
        yield from (places[start : start + most] for start in range(0, len(places), most))
