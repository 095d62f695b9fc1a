"""The loop that turns a prompt into tokens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from transformers import DynamicCache

from medlora.inference.low_rank import Voice
from medlora.inference.memory import PrefixMemory
from medlora.inference.row import Row
from medlora.inference.sampling import Sampler
from medlora.inference.step import Step, new_states

Stopped = Callable[[], bool]

# A prompt is read in pieces, so that Stop is heard in between. Fixed lengths, not measured ones: the
# grouping of the arithmetic decides the last bits, and the same question must give the same answer.
CPU_PIECE = 64
GPU_PIECE = 256


def piece_length(device: torch.device) -> int:
    """How many tokens of a prompt are read at once on this kind of device."""
    return CPU_PIECE if device.type == "cpu" else GPU_PIECE


@dataclass(frozen=True)
class Identity:
    """Whose words they are.

    key: tells the weights that read a prompt from any others. voice: the adapter as a step adds it to the
    base; None for one that only the whole model can speak with. ends: the tokens that end a turn.
    """

    key: str
    voice: Voice | None = field(default_factory=Voice)
    ends: frozenset[int] = frozenset()


@dataclass
class Opened:
    """A prompt that was read: the logits of what comes next, and the states to go on from."""

    identity: Identity
    prompt: list[int]
    logits: torch.Tensor
    states: DynamicCache
    row: Row | None


class Decoder:
    """One model's decoding loop, with the memory of earlier prompts."""

    def __init__(self, model: Any, step: Step | None = None, *, reuse: bool = True) -> None:
        self._model = model
        self._step = step
        self._device = torch.device(model.device)
        self._reuse = reuse
        self._memory = PrefixMemory(piece_length(self._device))

    def tokens(
        self, identity: Identity, prompt: list[int], sampler: Sampler, stopped: Stopped
    ) -> Generator[int, None, None]:
        """Token after token, without end; returns early once `stopped` says so."""
        opened = self.open(identity, prompt, stopped)
        if opened is None:
            return
        try:
            token = sampler.choose(opened.logits)
            yield token
            while not stopped():
                (logits,) = self.advance([opened], [token])
                token = sampler.choose(logits)
                yield token
        finally:
            self.close(opened)

    def can_join(self, identity: Identity) -> bool:
        """Whether its answers can grow together with others."""
        return self._step is not None and identity.voice is not None

    @torch.inference_mode()
    def open(self, identity: Identity, prompt: list[int], stopped: Stopped) -> Opened | None:
        """Read a prompt with the weights that are active in the model; None if stopped while reading."""
        states, known = self._begin(identity, prompt)
        logits = self._read(identity, prompt, known, states, stopped)
        if logits is None:
            self._keep(identity, prompt, states)
            return None
        row = Row(states) if self.can_join(identity) else None
        if row is not None:
            self._keep(identity, prompt, states)
        return Opened(identity, prompt, logits, states, row)

    @torch.inference_mode()
    def advance(self, opened: Sequence[Opened], tokens: Sequence[int]) -> Sequence[torch.Tensor]:
        """The logits after one more token in each; several only where all can be joined."""
        rows = [each.row for each in opened if each.row is not None]
        voices = [each.identity.voice for each in opened if each.identity.voice is not None]
        if self._step is not None and len(rows) == len(voices) == len(opened):
            return self._step.advance(tokens, rows, voices).unbind()
        (one,), (token,) = opened, tokens
        return (self._forward([token], one.states),)

    def close(self, opened: Opened) -> None:
        """The answer has ended: what was read of its prompt is remembered."""
        if opened.row is None:
            self._keep(opened.identity, opened.prompt, opened.states)

    @torch.inference_mode()
    def read_ahead(self, identity: Identity, ids: list[int], stopped: Stopped) -> None:
        """Read a conversation in idle time, so that its next question waits for less."""
        last = self._memory.cuts(ids, identity.ends)[-1]
        if self._reuse and last:
            states, known = self._begin(identity, ids)
            self._read(identity, ids[:last], known, states, stopped)
            self._keep(identity, ids, states)

    def forget(self) -> None:
        """Drop the states of earlier prompts."""
        self._memory.forget()

    def _begin(self, identity: Identity, ids: list[int]) -> tuple[DynamicCache, int]:
        known = self._memory.take(identity.key, ids, identity.ends) if self._reuse else (None, 0)
        return (new_states(self._model) if known[0] is None else known[0]), known[1]

    def _keep(self, identity: Identity, ids: list[int], states: DynamicCache) -> None:
        if self._reuse:
            self._memory.keep(identity.key, ids, states, identity.ends)

    def _read(
        self, identity: Identity, ids: list[int], at: int, states: DynamicCache, stopped: Stopped
    ) -> torch.Tensor | None:
        """The logits after the last of `ids`, or None if stopped while reading."""
        logits = None
        cuts = [cut for cut in self._memory.cuts(ids, identity.ends) if at <= cut < len(ids)]
        for start, stop in pairwise([*cuts, len(ids)]):
            if stopped():
                return None
            logits = self._read_piece(identity, ids[start:stop], states)
        return logits

    def _read_piece(self, identity: Identity, ids: list[int], states: DynamicCache) -> torch.Tensor:
        if self._step is not None and self._step.reads and identity.voice is not None:
            return self._step.read(ids, states, identity.voice)
        return self._forward(ids, states)

    def _forward(self, ids: list[int], states: DynamicCache) -> torch.Tensor:
        tokens = torch.tensor([ids], device=self._device)
        output = self._model(input_ids=tokens, cache=states, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = output.logits[0, -1]
        return logits
