"""The attention states of one answer while it is written."""

from __future__ import annotations

import torch
from transformers import DynamicCache

_GROWS_BY = 256


class Row:
    """The attention states of one answer, with room to grow.

    Shapes: per layer keys and values (heads, room, width).
    """

    def __init__(self, states: DynamicCache | None = None) -> None:
        self.length = int(states.get_seq_length()) if states is not None else 0
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        for layer in states.layers if states is not None else ():
            self._keys.append(_widen(layer.keys[0], self.length + _GROWS_BY))
            self._values.append(_widen(layer.values[0], self.length + _GROWS_BY))

    def put(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the states of the newest token; all of this layer's states. Shapes: (heads, width)."""
        if layer == len(self._keys):
            empty = keys.new_empty((keys.shape[0], 0, keys.shape[1]))
            self._keys.append(_widen(empty, _GROWS_BY))
            self._values.append(_widen(empty, _GROWS_BY))
        if self.length == self._keys[layer].shape[1]:
            self._keys[layer] = _widen(self._keys[layer], self.length + _GROWS_BY)
            self._values[layer] = _widen(self._values[layer], self.length + _GROWS_BY)
        self._keys[layer][:, self.length] = keys
        self._values[layer][:, self.length] = values
        end = self.length + 1
        return self._keys[layer][:, :end], self._values[layer][:, :end]


def _widen(states: torch.Tensor, room: int) -> torch.Tensor:
    wide = states.new_empty((states.shape[0], room, states.shape[2]))
    wide[:, : states.shape[1]] = states
    return wide
