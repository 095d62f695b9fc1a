"""Which tokens of a record are trained on: the assistant's, found by prefix difference.

Why not search for markers: every template has its own. The text rendered up to an answer, with the
generation prompt, must be a prefix of the whole; what follows it, up to where the next turn begins, is the
answer with its end-of-turn token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Protocol

from medlora.dataset.shapes import Turn
from medlora.errors import DataError

REWRITTEN = (
    "The model's chat template rewrites earlier turns: only the last answer of a conversation is trained on."
)
ADDED_END = "The model's chat template ends an answer with no end token: the end-of-sequence token was added."

RenderTurns = Callable[[Sequence[Turn], bool], str]


class NothingToLearnError(DataError):
    """A sound record of whose answer nothing is left within max_seq_length."""


class SpanTokenizer(Protocol):
    """What the mask needs of a tokenizer."""

    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def eos_id(self) -> int | None: ...
    def token_text(self, token_id: int) -> str: ...
    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]: ...
    def strip_control_tokens(self, text: str) -> str: ...


@dataclass(frozen=True)
class Encoded:
    """One record, ready for training.

    Shapes: ids (T,), trained (T,).
    """

    ids: list[int]
    trained: list[bool]
    truncated: bool
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class RenderedRecord:
    """A whole record before it is cut to length, with the characters each token covers."""

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    trained: list[bool]
    notices: tuple[str, ...]

    def segments(self, max_tokens: int | None = None) -> list[tuple[str, bool]]:
        """The text that is kept, in runs of trained and untrained characters."""
        spans, trained = self.spans[:max_tokens], self.trained[:max_tokens]
        runs: list[tuple[str, bool]] = []
        begin = 0
        for index, flag in enumerate(trained):
            last = index + 1 == len(trained)
            if last or trained[index + 1] != flag:
                end = spans[index][1] if last else max(begin, spans[index + 1][0])
                runs.append((self.text[begin:end], flag))
                begin = end
        return [(text, flag) for text, flag in runs if text]


def mask_record(
    turns: Sequence[Turn], render: RenderTurns, tokenizer: SpanTokenizer, notices: Sequence[str] = ()
) -> RenderedRecord:
    """The record's tokens and which of them are trained on.

    Raises: DataError when the record has no answer, or the template does not render the question alone as
    the beginning of the whole, so that nobody could tell the answer from the question.
    """
    answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    if not answers or answers[-1] != len(turns) - 1:
        raise DataError("messages: the record does not end with an answer, so there is nothing to learn")
    text = render(turns, False)
    prompts = {index: render(turns[:index], True) for index in answers}
    if not text.startswith(prompts[answers[-1]]):
        raise DataError(
            "chat template: the question alone is not rendered as the beginning of the whole record, so the "
            "answer cannot be told from the question; choose another model"
        )
    said = list(notices)
    starts = {index: len(prompt) for index, prompt in prompts.items() if text.startswith(prompt)}
    ids, spans = _encode_with_cuts(tokenizer, text, sorted(starts.values()))
    ends = {
        index: _answer_end(render(turns[: index + 1], False), text, spans, tokenizer)
        for index in answers[:-1]
    }
    if any(index not in starts or end is None for index, end in ends.items()):
        said.append(REWRITTEN)
        answers = answers[-1:]
    trained = [False] * len(ids)
    for index in answers:
        _mark_answer(trained, (ids, spans), (starts[index], ends.get(index) or len(ids)), tokenizer)
    if tokenizer.eos_id is not None and not _ends_in_control(ids, trained, tokenizer):
        ids, spans, trained = [*ids, tokenizer.eos_id], [*spans, (len(text), len(text))], [*trained, True]
        said.append(ADDED_END)
    return RenderedRecord(text, ids, spans, trained, tuple(said))


def _encode_with_cuts(
    tokenizer: SpanTokenizer, text: str, cuts: Sequence[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """The text's tokens, with a token boundary at each cut.

    Why: in the chat the prompt is encoded alone. A token that lies across the end of the prompt would teach
    the model a beginning it never meets. Without such a token this is the plain encoding.
    """
    ids, spans = tokenizer.encode_spans(text)
    boundaries = {start for start, _ in spans}
    needed = [cut for cut in cuts if cut not in boundaries]
    across = [cut for cut in needed if any(start < cut < end for start, end in spans)]
    if not across:
        return ids, spans
    ids, spans = [], []
    edges = [0, *across, len(text)]
    for begin, end in pairwise(edges):
        piece_ids, piece_spans = tokenizer.encode_spans(text[begin:end])
        ids += piece_ids
        spans += [(begin + start, begin + stop) for start, stop in piece_spans]
    return ids, spans


def _answer_end(
    whole: str, text: str, spans: Sequence[tuple[int, int]], tokenizer: SpanTokenizer
) -> int | None:
    """The token of `text` with which an earlier answer ends; None if the template rewrote that answer.

    Why not "is a prefix": some templates close a conversation with a further control token, which is not
    there while the conversation goes on. Words, though, must be the same.
    """
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, whole, strict=False)))
    end = bisect_right([stop for _, stop in spans], shared)
    rest = whole[spans[end - 1][1] if end else 0 :]
    return None if tokenizer.strip_control_tokens(rest).strip() else end


def _mark_answer(
    trained: list[bool],
    tokens: tuple[list[int], list[tuple[int, int]]],
    bounds: tuple[int, int],
    tokenizer: SpanTokenizer,
) -> None:
    """Mark from the character `bounds[0]` to the token `bounds[1]`, less white space after the end token."""
    ids, spans = tokens
    start, end = bounds
    first = next((index for index, (begin, _) in enumerate(spans) if begin >= start), end)
    stop = end
    while stop > first and ids[stop - 1] not in tokenizer.special_ids:
        stop -= 1
    tail = range(stop, end)
    blank = all(not tokenizer.token_text(ids[index]).strip("ĠĊ▁ \n\r\t") for index in tail)
    for index in range(first, stop if stop > first and blank else end):
        trained[index] = True


def _ends_in_control(ids: Sequence[int], trained: Sequence[bool], tokenizer: SpanTokenizer) -> bool:
    last = max((index for index, flag in enumerate(trained) if flag), default=None)
    return last is None or ids[last] in tokenizer.special_ids
