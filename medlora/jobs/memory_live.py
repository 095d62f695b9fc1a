"""The storages that are alive, by the part of a training step that they were made for."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

Sizes = Counter[str]  # bytes by part


@dataclass
class _Counted:
    part: str
    size: int


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that are alive, by the part they were made for, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self._known: weakref.WeakKeyDictionary[Any, _Counted] = weakref.WeakKeyDictionary()
        self._part = "activations"
        self.now: Sizes = Counter()
        self.peak: Sizes = Counter()

    @contextmanager
    def making(self, part: str) -> Iterator[None]:
        before, self._part = self._part, part
        try:
            yield
        finally:
            self._part = before

    def add(self, tensor: torch.Tensor, part: str | None = None) -> None:
        """Count a tensor's storage, once, until it is freed; naming a part moves it there."""
        storage = tensor.untyped_storage()
        known = self._known.get(storage)
        if known is not None:
            if part is not None:
                self.now[known.part] -= known.size
                self.now[part] += known.size
                known.part = part
            return
        counted = _Counted(part or self._part, storage.nbytes())
        self._known[storage] = counted
        self.now[counted.part] += counted.size
        weakref.finalize(storage, self._forget, counted)
        self._note_peak()

    def _forget(self, counted: _Counted) -> None:
        self.now[counted.part] -= counted.size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for value in tree_iter(out):
            if isinstance(value, torch.Tensor):
                self.add(value)
        if function is torch.ops.aten.logsumexp.default:
            self._pass_through(args[0].nbytes)
        return out

    def _pass_through(self, size: int) -> None:
        """Count what an operation makes and frees within itself: the exponentials of a logsumexp."""
        self.now[self._part] += size
        self._note_peak()
        self.now[self._part] -= size

    def _note_peak(self) -> None:
        if self.now.total() > self.peak.total():
            self.peak = self.now.copy()
