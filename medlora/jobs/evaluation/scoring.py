"""What a model gives a text it did not write: its loss on the answer, and which option it finds likeliest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from medlora.dataset.render import ChatTokenizer
from medlora.dataset.shapes import Record, Turn, with_system_prompt

# PubMedQA asks for one of these; its answers begin with the word.
YES_NO_MAYBE = ("yes", "no", "maybe")
_FIRST_WORD = re.compile(r"[A-Za-z]+")
_LETTER = re.compile(r"(?m)^\s*\(?([A-H])[).:]\s+\S")
_LETTER_ANSWER = re.compile(r"^\s*(?:answer\s*:?\s*)?\(?([A-H])\b", re.IGNORECASE)


@dataclass(frozen=True)
class AnswerLoss:
    """The summed cross entropy (in nats) of a record's answers, over so many tokens."""

    total: float
    tokens: int


@torch.inference_mode()
def answer_loss(model: Any, ids: Sequence[int], trained: Sequence[bool]) -> AnswerLoss:
    """Loss on the answer's tokens alone, as training measures it.

    Shapes: ids (T,), trained (T,).
    """
    tokens = torch.tensor([list(ids)], device=model.device)
    wanted = torch.tensor(list(trained)[1:], device=model.device)
    logits = model(input_ids=tokens).logits[0, :-1][wanted].float()
    total = functional.cross_entropy(logits, tokens[0, 1:][wanted], reduction="sum")
    return AnswerLoss(float(total), int(wanted.sum()))


@dataclass(frozen=True)
class Choice:
    """A question with a fixed set of answers. right: the number of the one that the record gives."""

    prompt: tuple[Turn, ...]
    options: tuple[str, ...]
    right: int


def find_choice(record: Record) -> Choice | None:
    """The record as a multiple-choice question, None if it is none.

    Known: answers that begin with yes, no or maybe to a question that can be so answered, and lettered
    options in the question with a letter as the answer.
    """
    *prompt, answer = record.messages
    question = next((turn.content for turn in reversed(prompt) if turn.role == "user"), "")
    letters = tuple(dict.fromkeys(_LETTER.findall(question)))
    chosen = _LETTER_ANSWER.match(answer.content)
    if len(letters) >= 2 and chosen and chosen.group(1).upper() in letters:
        return Choice(tuple(prompt), letters, letters.index(chosen.group(1).upper()))
    word = _FIRST_WORD.search(answer.content)
    if word and word.group().lower() in YES_NO_MAYBE and "?" in question:
        return Choice(tuple(prompt), YES_NO_MAYBE, YES_NO_MAYBE.index(word.group().lower()))
    return None


@torch.inference_mode()
def choose(model: Any, tokenizer: ChatTokenizer, choice: Choice, system_prompt: str) -> int:
    """The number of the option to whose words the model gives the highest mean log-likelihood.

    Why the mean: an option of more tokens would otherwise lose for its length alone.
    """
    prompt = tokenizer.encode_prompt(with_system_prompt(choice.prompt, system_prompt))
    scores = []
    for option in choice.options:
        words = tokenizer.encode(option)
        loss = answer_loss(model, [*prompt, *words], [False] * len(prompt) + [True] * len(words))
        scores.append(-loss.total / max(loss.tokens, 1))
    return scores.index(max(scores))


def has_choices(records: Sequence[Record], share: float = 0.8) -> bool:
    """Whether the set as a whole is one of choices, so that a stray "No," does not make it one."""
    found = sum(find_choice(record) is not None for record in records)
    return bool(records) and found / len(records) >= share


def as_turns(messages: Sequence[Turn]) -> list[Mapping[str, str]]:
    """Plain values, as the safety layer reads them."""
    return [{"role": turn.role, "content": turn.content} for turn in messages]
