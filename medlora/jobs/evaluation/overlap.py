"""How much of a reference answer a model's answer holds, in order."""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z0-9]+")
_LONGEST = 600


def rouge_l(reference: str, answer: str) -> float:
    """ROUGE-L: the F1 of the longest common subsequence of words, 0 to 1. The first 600 words count.

    Source: Lin (2004), ROUGE: a package for automatic evaluation of summaries; words as its scorer cuts them.
    """
    wanted = _WORD.findall(reference.lower())[:_LONGEST]
    given = _WORD.findall(answer.lower())[:_LONGEST]
    if not wanted or not given:
        return 0.0
    common = _common_length(wanted, given)
    if not common:
        return 0.0
    recall, precision = common / len(wanted), common / len(given)
    return 2 * recall * precision / (recall + precision)


def _common_length(first: list[str], second: list[str]) -> int:
    row = [0] * (len(second) + 1)
    for word in first:
        left = 0
        for place, other in enumerate(second, 1):
            above = row[place]
            row[place] = left + 1 if word == other else max(above, row[place - 1])
            left = above
    return row[-1]
