"""How long records are, in tokens, and which of them the settings leave out.

min_length and max_length count the tokens of the record's own texts (without chat template and injected
system prompt): they stand in the config beside max_seq_length, which counts tokens too.
max_seq_length counts the whole record as the model sees it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from medlora.dataset.mask import NothingToLearnError
from medlora.dataset.render import ChatTokenizer
from medlora.dataset.rows import RowProblem
from medlora.dataset.shapes import Record, with_system_prompt
from medlora.errors import DataError

# Four tokens to three words: about what byte-pair tokenizers make of English prose.
_TOKENS_PER_WORD = 4 / 3
_BINS = 24


@dataclass(frozen=True)
class LengthSettings:
    """The part of a config that decides which rows are used, and how long they may be.

    Units: tokens.
    """

    min_length: int = 0
    max_length: int | None = None
    max_seq_length: int = 2048
    truncation: bool = True
    system_prompt: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LengthSettings:
        """The settings in a resolved config, given as plain values."""
        data, safety = config["data"], config["safety"]
        return cls(
            min_length=data["min_length"],
            max_length=data["max_length"],
            max_seq_length=data["max_seq_length"],
            truncation=data["truncation"],
            system_prompt=safety["system_prompt"],
        )


@dataclass(frozen=True)
class TokenStats:
    """Lengths of the usable records as the model sees them.

    histogram: (from, to, count), `to` not included. estimated: no tokenizer was at hand.
    """

    p50: int
    p95: int
    max: int
    truncated: int
    total: int
    histogram: tuple[tuple[int, int, int], ...]
    estimated: bool


@dataclass
class LengthGauge:
    """Measures records in batches; keeps four bytes for each."""

    settings: LengthSettings
    tokenizer: ChatTokenizer | None
    lengths: array[int] = field(default_factory=lambda: array("I"))
    truncated: int = 0

    def judge(self, records: Sequence[Record]) -> list[RowProblem | None]:
        """For each record why it is left out, or None; usable ones enter the statistics."""
        rendered = self._rendered_lengths(records)
        verdicts = [self._judge(record, length) for record, length in zip(records, rendered, strict=True)]
        for length, verdict in zip(rendered, verdicts, strict=True):
            if verdict is None and isinstance(length, int):
                self.lengths.append(length)
                self.truncated += length > self.settings.max_seq_length
        return verdicts

    def _rendered_lengths(self, records: Sequence[Record]) -> list[int | DataError]:
        conversations = [
            with_system_prompt(record.messages, self.settings.system_prompt) for record in records
        ]
        if self.tokenizer is None:
            return [sum(_estimate(turn.content) + 5 for turn in turns) for turns in conversations]
        rendered: list[str | DataError] = []
        for turns in conversations:
            try:
                rendered.append(self.tokenizer.render(turns))
            except DataError as error:
                rendered.append(error)
        counts = iter(self.tokenizer.count_many([text for text in rendered if isinstance(text, str)]))
        return [next(counts) if isinstance(text, str) else text for text in rendered]

    def _judge(self, record: Record, rendered: int | DataError) -> RowProblem | None:
        if isinstance(rendered, DataError):
            return RowProblem(record.line, "template", str(rendered))
        settings = self.settings
        own = self._own_tokens(record, rendered)
        if own is not None and own < settings.min_length:
            return _filtered(
                record, "too_short", f"{own} tokens, fewer than data.min_length {settings.min_length}"
            )
        if own is not None and settings.max_length is not None and own > settings.max_length:
            return _filtered(
                record, "too_long", f"{own} tokens, more than data.max_length {settings.max_length}"
            )
        if rendered <= settings.max_seq_length:
            return None
        if not settings.truncation:
            return _filtered(
                record,
                "too_long",
                f"{rendered} tokens with the chat template, more than data.max_seq_length "
                f"{settings.max_seq_length}, and data.truncation is false",
            )
        return self._check_cut(record)

    def _own_tokens(self, record: Record, rendered: int) -> int | None:
        """Tokens of the record's texts; None when both bounds hold without counting.

        Why: a word is at least one token, and a record's texts are no longer than the whole of it.
        """
        texts = [turn.content for turn in record.messages]
        if self.tokenizer is None:
            return sum(map(_estimate, texts))
        low = self.settings.min_length <= sum(len(text.split()) for text in texts)
        high = self.settings.max_length is None or rendered <= self.settings.max_length
        return None if low and high else sum(self.tokenizer.count_many(texts))

    def _check_cut(self, record: Record) -> RowProblem | None:
        if self.tokenizer is None:
            return None
        turns = with_system_prompt(record.messages, self.settings.system_prompt)
        try:
            self.tokenizer.encode_record(turns, max_seq_length=self.settings.max_seq_length)
        except NothingToLearnError as error:
            return _filtered(record, "nothing_to_learn", str(error))
        except DataError as error:
            return RowProblem(record.line, "template", str(error))
        return None

    def stats(self) -> TokenStats | None:
        """The statistics so far; None when no record was usable."""
        if not self.lengths:
            return None
        ordered = sorted(self.lengths)
        return TokenStats(
            p50=_percentile(ordered, 0.50),
            p95=_percentile(ordered, 0.95),
            max=ordered[-1],
            truncated=self.truncated,
            total=sum(ordered),
            histogram=_histogram(ordered),
            estimated=self.tokenizer is None,
        )


def _estimate(text: str) -> int:
    return round(len(text.split()) * _TOKENS_PER_WORD)


def _filtered(record: Record, kind: str, message: str) -> RowProblem:
    return RowProblem(record.line, kind, message, "filtered")


def _percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest length that at least `share` of the records do not exceed (nearest rank)."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _histogram(ordered: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    low, high = ordered[0], ordered[-1] + 1
    width = max(1, -(-(high - low) // _BINS))
    counts = [0] * -(-(high - low) // width)
    for length in ordered:
        counts[(length - low) // width] += 1
    return tuple((low + i * width, low + (i + 1) * width, count) for i, count in enumerate(counts))
