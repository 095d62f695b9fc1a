"""The loop that turns a prompt into tokens."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import torch
from transformers import DynamicCache

from medlora.inference.memory import PrefixMemory
from medlora.inference.sampling import Sampler

Stopped = Callable[[], bool]

# A prompt is read in pieces, so that Stop is heard in between. Fixed lengths, not measured ones: the
# grouping of the arithmetic decides the last bits, and the same question must give the same answer.
CPU_PIECE = 64
GPU_PIECE = 256


def piece_length(device: torch.device) -> int:
    """How many tokens of a prompt are read at once on this kind of device."""
    return CPU_PIECE if device.type == "cpu" else GPU_PIECE


class Decoder:
    """One model's decoding loop, with the memory of earlier prompts."""

    def __init__(self, model: Any, *, reuse: bool = True) -> None:
        self._model = model
        self._device = torch.device(model.device)
        self._reuse = reuse
        self._memory = PrefixMemory(piece_length(self._device))

    @torch.inference_mode()
    def tokens(
        self, weights: str, prompt: list[int], sampler: Sampler, stopped: Stopped
    ) -> Generator[int, None, None]:
        """Token after token, without end; returns early once `stopped` says so."""
        states, known = self._begin(weights, prompt)
        try:
            logits = self._read(prompt, known, states, stopped)
            while logits is not None:
                token = sampler.choose(logits)
                yield token
                logits = None if stopped() else self._forward([token], states)
        finally:
            if self._reuse:
                self._memory.keep(weights, prompt, states)

    @torch.inference_mode()
    def read_ahead(self, weights: str, ids: list[int], stopped: Stopped) -> None:
        """Read a conversation in idle time, so that its next question waits for less."""
        if self._reuse and len(ids) > self._memory.piece:
            states, known = self._begin(weights, ids)
            whole = len(ids) // self._memory.piece * self._memory.piece
            self._read(ids[:whole], known, states, stopped)
            self._memory.keep(weights, ids, states)

    def forget(self) -> None:
        """Drop the states of earlier prompts."""
        self._memory.forget()

    def _begin(self, weights: str, ids: list[int]) -> tuple[DynamicCache, int]:
        states, known = self._memory.take(weights, ids) if self._reuse else (None, 0)
        return (DynamicCache(config=self._model.config) if states is None else states), known

    def _read(self, ids: list[int], at: int, states: DynamicCache, stopped: Stopped) -> torch.Tensor | None:
        """The logits after the last of `ids`, or None if stopped while reading."""
        logits = None
        for start in range(at, len(ids), self._memory.piece):
            if stopped():
                return None
            logits = self._forward(ids[start : start + self._memory.piece], states)
        return logits

    def _forward(self, ids: list[int], states: DynamicCache) -> torch.Tensor:
        tokens = torch.tensor([ids], device=self._device)
        output = self._model(input_ids=tokens, cache=states, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = output.logits[0, -1]
        return logits
