"""From a conversation to the token ids the model sees, fitted into its context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medlora.inference.protocol import RequestError

Message = dict[str, str]
Encode = Callable[[Sequence[Message]], list[int]]

# An answer with less room than this is not worth starting.
_SMALLEST_ANSWER = 16


@dataclass(frozen=True)
class Prompt:
    """The ids of the prompt, how many tokens the answer may have, and what had to be changed."""

    ids: list[int]
    answer_room: int
    notices: tuple[str, ...] = ()


def fit_prompt(encode: Encode, messages: Sequence[Message], context: int, wanted: int) -> Prompt:
    """The prompt, without the oldest turns if context is short; the system turn always stays.

    Why from the front: the question is at the end, and what was said last matters most for it.
    Units: context and wanted in tokens.
    Raises: RequestError if the last message alone leaves no room for an answer.
    """
    head = [turn for turn in messages[:1] if turn["role"] == "system"]
    turns = list(messages[len(head) :])
    starts = [i for i, turn in enumerate(turns) if turn["role"] == "user"] or [0]
    ids = encode([*head, *turns[starts[0] :]])
    dropped = starts[0]
    if len(ids) + wanted > context and len(starts) > 1:
        fits = bisect_left(starts, True, key=lambda at: len(encode([*head, *turns[at:]])) + wanted <= context)
        dropped = starts[min(fits, len(starts) - 1)]
        ids = encode([*head, *turns[dropped:]])
    room = min(wanted, context - len(ids))
    if room < min(_SMALLEST_ANSWER, wanted):
        raise RequestError(
            f"message: it is too long for the model (got {len(ids)} tokens with the system prompt, "
            f"the context holds {context}); shorten it"
        )
    notices = []
    if dropped:
        notices.append(
            f"The conversation is longer than the model's context of {context} tokens: "
            f"its oldest {dropped} messages were left out of this answer."
        )
    if room < wanted:
        notices.append(f"The context leaves room for {room} tokens of answer instead of {wanted}.")
    return Prompt(ids, room, tuple(notices))
