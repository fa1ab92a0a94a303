"""A key-value cache with room to grow, so that one decoding step does not copy the whole past.

Drop-in for the layers of `transformers.DynamicCache`; layers of another kind (sliding windows) are left as they are.
"""

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

_ROOM = 64


def roomy_cache(config: PretrainedConfig) -> DynamicCache:
    """Return an empty cache for a model of this configuration, its plain layers replaced by `RoomyLayer`."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class RoomyLayer(DynamicLayer):
    """Keys and values [rows, heads, length, head width] as views into buffers with spare length."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: torch.Tensor
        self.values: torch.Tensor
        self._key_room: torch.Tensor | None = None
        self._value_room: torch.Tensor | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: object,  # noqa: ARG002 - the signature of transformers
        **kwargs: object,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append new positions and return all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = int(self.get_seq_length())
        self._key_room, self.keys = _append(self._key_room, self.keys, key_states, start)
        self._value_room, self.values = _append(self._value_room, self.values, value_states, start)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row; the buffers are built anew at the next step."""
        super().batch_repeat_interleave(repeats)
        self._key_room = self._value_room = None

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows; the buffers are built anew at the next step."""
        super().batch_select_indices(indices)
        self._key_room = self._value_room = None


def _append(
    room: torch.Tensor | None, past: torch.Tensor, new: torch.Tensor, start: int
) -> tuple[torch.Tensor, torch.Tensor]:
    end = start + new.shape[-2]
    if room is None or room.shape[-2] < end:
        room = new.new_empty((*new.shape[:-2], end + _ROOM, new.shape[-1]))
        if start:
            room[..., :start, :] = past
    room[..., start:end, :] = new
    return room, room[..., :end, :]
