"""From token ids to text, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_HALF = "\ufffd"
# A character is at most four bytes long, so four byte tokens settle whether the text is broken for good.
_LONGEST_WAIT = 4


class Decodes(Protocol):
    """What is needed of a tokenizer."""

    def decode(self, ids: Sequence[int]) -> str: ...


class TextStream:
    """Decodes token by token; the pieces joined are the decoding of the whole.

    Why not each token alone: a character may be spread over several tokens, and some tokenizers write the
    space of a word only when they see what stands before it. So each piece is the difference of two
    decodings that start at the same earlier token, and is held back while it ends inside a character.
    """

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = 0
        self._shown = 0

    def feed(self, token: int) -> str:
        """The text that became certain with this token; empty while a character is incomplete."""
        self._ids.append(token)
        piece = self._difference()
        if piece.endswith(_HALF) and len(self._ids) - self._shown < _LONGEST_WAIT:
            return ""
        if piece:
            self._start, self._shown = self._shown, len(self._ids)
        return piece

    def finish(self) -> str:
        """What was still held back, without the halves of a character that was cut off."""
        piece = self._difference()
        self._start = self._shown = len(self._ids)
        return piece.rstrip(_HALF)

    def _difference(self) -> str:
        before = self._tokenizer.decode(self._ids[self._start : self._shown])
        after = self._tokenizer.decode(self._ids[self._start :])
        return after[len(before) :]
