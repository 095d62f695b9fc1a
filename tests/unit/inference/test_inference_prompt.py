"""A conversation is fitted into the context from its oldest end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from medlora.inference.prompt import fit_prompt
from medlora.inference.protocol import RequestError


def _encode(messages: Sequence[dict[str, str]]) -> list[int]:
    """One token a word, and one for each turn."""
    return [len(word) for turn in messages for word in (turn["role"], *turn["content"].split())]


def _turn(role: str, words: int, word: str = "word") -> dict[str, str]:
    return {"role": role, "content": " ".join([word] * words)}


def _conversation(pairs: int) -> list[dict[str, str]]:
    turns = [_turn("system", 9)]
    for _ in range(pairs):
        turns += [_turn("user", 9), _turn("assistant", 9)]
    return [*turns, _turn("user", 9)]


def test_a_short_conversation_is_taken_whole() -> None:
    messages = _conversation(2)
    prompt = fit_prompt(_encode, messages, context=1000, wanted=100)
    assert prompt.ids == _encode(messages)
    assert (prompt.answer_room, prompt.notices) == (100, ())


def test_the_oldest_turns_go_first_and_the_system_prompt_stays() -> None:
    messages = _conversation(5)
    prompt = fit_prompt(_encode, messages, context=100, wanted=50)
    # System 10 + last question 10 + one pair of 20 are 40; a second pair would need 60.
    assert prompt.ids == _encode([messages[0], *messages[-3:]])
    assert prompt.notices == (
        "The conversation is longer than the model's context of 100 tokens: "
        "its oldest 8 messages were left out of this answer.",
    )


def test_what_is_left_begins_with_a_question() -> None:
    messages = [_turn("assistant", 5), *_conversation(1)[1:]]
    prompt = fit_prompt(_encode, messages, context=1000, wanted=10)
    assert prompt.ids == _encode(messages[1:])


def test_a_long_question_shortens_the_answer_and_says_so() -> None:
    prompt = fit_prompt(_encode, [_turn("user", 59)], context=100, wanted=50)
    assert prompt.answer_room == 40
    assert prompt.notices == ("The context leaves room for 40 tokens of answer instead of 50.",)


def test_a_question_that_fills_the_context_is_refused() -> None:
    with pytest.raises(RequestError) as refused:
        fit_prompt(_encode, [_turn("user", 94)], context=100, wanted=50)
    assert str(refused.value) == (
        "message: it is too long for the model (got 95 tokens with the system prompt, "
        "the context holds 100); shorten it"
    )


def test_a_short_answer_that_was_asked_for_fits_beside_a_long_question() -> None:
    assert fit_prompt(_encode, [_turn("user", 94)], context=100, wanted=5).answer_room == 5
