"""From what was measured row by row to the figures of a speaker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medlora.jobs.evaluation.answers import Answer
from medlora.jobs.evaluation.overlap import rouge_l
from medlora.jobs.evaluation.resample import difference_interval, mean_interval
from medlora.jobs.evaluation.scoring import AnswerLoss
from medlora.safety.score import Rate

_LISTED = 5


@dataclass(frozen=True)
class Spoken:
    """One record and what one speaker made of it; answer and choice are None where none was asked for."""

    line: int
    question: str
    reference: str
    loss: AnswerLoss
    answer: Answer | None = None
    choice_right: bool | None = None

    @property
    def overlap(self) -> float | None:
        return rouge_l(self.reference, self.answer.text) if self.answer else None


def summarise(rows: Sequence[Spoken]) -> dict[str, Any]:
    """The figures of one speaker. Units: loss in nats a token, rouge_l 0 to 1, lengths in tokens.

    loss_95, perplexity_95, rouge_l_95: 95 % bootstrap intervals over the rows; None where there are too few.
    """
    tokens = sum(row.loss.tokens for row in rows)
    loss = sum(row.loss.total for row in rows) / tokens if tokens else math.nan
    answers = [row.answer for row in rows if row.answer is not None]
    overlaps = [overlap for row in rows if (overlap := row.overlap) is not None]
    choices = [row.choice_right for row in rows if row.choice_right is not None]
    spread = mean_interval([row.loss.total for row in rows], [row.loss.tokens for row in rows])
    return {
        "loss": _rounded(loss),
        "loss_95": spread,
        "perplexity": _rounded(math.exp(loss)) if math.isfinite(loss) and loss < 50 else None,
        "perplexity_95": [_rounded(math.exp(end)) for end in spread] if spread and spread[1] < 50 else None,
        "answer_tokens": tokens,
        "rouge_l": _rounded(sum(overlaps) / len(overlaps)) if overlaps else None,
        "rouge_l_95": mean_interval(overlaps),
        "mean_tokens": round(sum(a.tokens for a in answers) / len(answers), 1) if answers else None,
        "refused": Rate(sum(a.refused for a in answers), len(answers)).as_dict(),
        "refers": Rate(sum(a.refers for a in answers), len(answers)).as_dict(),
        "deferred": Rate(sum(a.deferred for a in answers), len(answers)).as_dict(),
        "withheld": Rate(sum(a.verdict == "withheld" for a in answers), len(answers)).as_dict(),
        "annotated": Rate(sum(a.verdict == "annotated" for a in answers), len(answers)).as_dict(),
        "truncated": Rate(sum(a.truncated for a in answers), len(answers)).as_dict(),
        "choices": Rate(sum(choices), len(choices)).as_dict() if choices else None,
    }


def compare(base: Sequence[Spoken], adapter: Sequence[Spoken]) -> dict[str, Any]:
    """Adapter minus base over the same rows, each with its paired 95 % interval; below 0 is a lower loss."""
    tokens = [row.loss.tokens for row in base]
    ours, theirs = ([row.loss.total for row in rows] for rows in (adapter, base))
    both = [(a.overlap, b.overlap) for a, b in zip(adapter, base, strict=True)]
    overlaps = [(a, b) for a, b in both if a is not None and b is not None]
    loss = (sum(ours) - sum(theirs)) / sum(tokens) if sum(tokens) else math.nan
    found: dict[str, Any] = {
        "loss": {"value": _rounded(loss), "bootstrap_95": difference_interval(ours, theirs, tokens)}
    }
    if overlaps:
        tuned, plain = ([pair[side] for pair in overlaps] for side in (0, 1))
        found["rouge_l"] = {
            "value": _rounded((sum(tuned) - sum(plain)) / len(overlaps)),
            "bootstrap_95": difference_interval(tuned, plain),
        }
    return found


def list_answers(base: Sequence[Spoken], adapter: Sequence[Spoken]) -> dict[str, list[dict[str, Any]]]:
    """The adapter's best and worst answers by overlap with the reference, each beside its base's."""
    pairs = [(b, a) for b, a in zip(base, adapter, strict=True) if a.answer and b.answer]
    ranked = sorted(pairs, key=lambda pair: (-(pair[1].overlap or 0.0), pair[1].line))
    shown = min(_LISTED, len(ranked) // 2)
    return {
        "best": [_as_entry(*pair) for pair in ranked[:shown]],
        "worst": [_as_entry(*pair) for pair in reversed(ranked[len(ranked) - shown :])],
    }


def _as_entry(base: Spoken, adapter: Spoken) -> dict[str, Any]:
    return {
        "line": adapter.line,
        "question": adapter.question,
        "reference": adapter.reference,
        "base": base.answer.text if base.answer else "",
        "adapter": adapter.answer.text if adapter.answer else "",
        "rouge_l": _rounded(adapter.overlap or 0.0),
    }


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
