"""Which earlier turns a model may read."""

from __future__ import annotations

from collections.abc import Sequence

from medlora.safety.assessment import assess
from medlora.safety.policy import Policy

Message = dict[str, str]


def readable_history(conversation: Sequence[Message], policy: Policy) -> list[Message]:
    """The conversation without what was kept from the model when it was said.

    Why: a description of an emergency must never reach a model, and that includes the turns after it, in
    which it would arrive as history. Its fixed reply goes with it.
    Turns of one role in a row become one, since most chat templates refuse them.
    """
    kept: list[Message] = []
    hidden = False
    for index, turn in enumerate(conversation):
        if turn["role"] == "user":
            last = index == len(conversation) - 1
            hidden = not last and not assess(conversation[: index + 1], policy).calls_model
        if hidden or not turn["content"].strip():
            continue
        if kept and kept[-1]["role"] == turn["role"]:
            kept[-1] = {"role": turn["role"], "content": f"{kept[-1]['content']}\n\n{turn['content']}"}
        elif kept or turn["role"] == "user":
            kept.append(dict(turn))
    return kept
