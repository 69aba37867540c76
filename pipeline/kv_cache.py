"""Keys and values of the tokens so far, with room for those to come: a token costs its own size, not a copy of all others."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

AHEAD = 64  # tokens of room made at once


class RoomyLayer(DynamicLayer):
    """A layer of transformers' dynamic cache whose tensors are the beginning of larger ones, of `most` tokens at most."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    @property
    def size(self) -> int:
        """Bytes it holds, the room ahead among them."""
        return sum(held.nbytes for held in self._room)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        self._room: tuple[torch.Tensor, ...] = (self.keys, self.values)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of all tokens, the given ones at their end: (rows, heads, tokens, width)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.keys.shape[-2]
        length = before + key_states.shape[-2]
        if len(self._room[0]) != len(key_states) or self._room[0].shape[-2] < length:
            room = max(length, min(length + AHEAD, self.most))
            self._room = tuple(_with_room(held, room) for held in (self.keys, self.values))
        for held, added in zip(self._room, (key_states, value_states), strict=True):
            held[..., before:length, :] = added
        self.keys, self.values = (held[..., :length, :] for held in self._room)
        return self.keys, self.values


def _with_room(held: torch.Tensor, length: int) -> torch.Tensor:
    room = held.new_empty((*held.shape[:-2], length, held.shape[-1]))
    room[..., : held.shape[-2], :] = held
    return room


def fresh(loaded: Any, most: int) -> DynamicCache | None:
    """An empty cache for a model that will read `most` tokens at most, a row's answer among them; None for one that keeps what it has read in other ways than attention does."""
    if "mamba" in loaded.config.model_type or not loaded._supports_default_dynamic_cache():
        return None
    cache = DynamicCache(config=loaded.config.get_text_config(decoder=True))
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return None
    cache.layers = [RoomyLayer(most) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
