"""The arithmetic of a comparison: rounds, medians, ratios, and the checks that all did the same work.

Imports nothing but Python, so that its test is quick.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "medlora"
# The first step comes before any learning, so only rounding and the way a loss is averaged may differ.
_FIRST_LOSS_TOLERANCE = 0.03


@dataclass(frozen=True)
class Case:
    """What is varied. isa: `native`, or `avx2` for the instructions of an older machine."""

    dropout: float
    isa: str

    @property
    def title(self) -> str:
        limit = "limited to AVX2" if self.isa == "avx2" else "all of the machine's instructions"
        return f"LoRA dropout {self.dropout:g}, {limit}"


@dataclass(frozen=True)
class Result:
    """One run of one contestant.

    start_s: from the start of its process to the end of its first step. step_s, cpu_s: wall and processor
    seconds of each later step. peak_gib: the most memory its process held.
    """

    contestant: str
    case: Case
    round: int
    start_s: float
    step_s: list[float]
    cpu_s: list[float]
    losses: list[float]
    peak_gib: float
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Mean wall seconds of a step after the first."""
        return statistics.fmean(self.step_s)

    @property
    def cpu_seconds(self) -> float:
        return statistics.fmean(self.cpu_s)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Result:
        return cls(**{**values, "case": Case(**values["case"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """The median of some rounds and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def show(self, digits: int = 2) -> str:
        middle, low, high = (f"{value:.{digits}f}" for value in (self.median, self.low, self.high))
        return middle if low == high else f"{middle} ({low} to {high})"


def check_rows(contestant: str, expected: Sequence[str], seen: Sequence[str]) -> None:
    """Raises: ValueError when a contestant did not learn from just these tokens and label positions."""
    for number, (wanted, found) in enumerate(zip(expected, seen, strict=False), 1):
        if wanted != found:
            raise ValueError(f"{contestant}: row {number} has other tokens or label positions than medlora's")
    if len(expected) != len(seen):
        raise ValueError(f"{contestant}: it saw {len(seen)} rows instead of {len(expected)}")


def check_tokens(lengths: Sequence[int], rows_a_step: int, seen: Sequence[int]) -> None:
    """The same for medlora, whose events count the tokens after every step.

    Raises: ValueError when they are not those of the rows in their order.
    """
    for step, tokens in enumerate(seen, 1):
        expected = sum(lengths[: step * rows_a_step])
        if tokens != expected:
            raise ValueError(f"{OURS}: after step {step} it saw {tokens} tokens instead of {expected}")


def check_first_losses(results: Sequence[Result]) -> float:
    """The largest distance of a first loss from the middle one: a fresh adapter changes nothing yet, so all
    contestants that learn the same positions begin with one loss.

    Raises: ValueError when one does not.
    """
    middle = statistics.median(result.losses[0] for result in results)
    worst = max(results, key=lambda result: abs(result.losses[0] - middle))
    apart = abs(worst.losses[0] - middle) / middle
    if apart > _FIRST_LOSS_TOLERANCE:
        raise ValueError(
            f"{worst.contestant}: its first loss is {worst.losses[0]:.4f} where the others have {middle:.4f}"
        )
    return apart


def ratios(results: Sequence[Result], contestant: str, *, cpu: bool = False) -> list[float]:
    """How many times as long as medlora's a contestant's step took, round by round."""
    ours = {result.round: result for result in results if result.contestant == OURS}
    theirs = [result for result in results if result.contestant == contestant and result.round in ours]
    if cpu:
        return [result.cpu_seconds / ours[result.round].cpu_seconds for result in theirs]
    return [result.seconds / ours[result.round].seconds for result in theirs]


def summarize(results: Sequence[Result], tokens_per_step: float) -> list[dict[str, Any]]:
    """One row for each contestant of a case, medlora first; tokens_per_step: of the steps that are timed."""
    names = list(dict.fromkeys(result.contestant for result in results))
    rows = []
    for name in sorted(names, key=lambda name: (name != OURS, names.index(name))):
        own = [result for result in results if result.contestant == name]
        seconds = Spread.of([result.seconds for result in own])
        rows.append(
            {
                "contestant": name,
                "rounds": len(own),
                "step_s": asdict(seconds),
                "cpu_s": asdict(Spread.of([result.cpu_seconds for result in own])),
                "tokens_per_second": round(tokens_per_step / seconds.median, 1),
                "times_as_long": _spread_or_none(ratios(results, name)),
                "times_the_cpu": _spread_or_none(ratios(results, name, cpu=True)),
                "loss": statistics.median(result.losses[-1] for result in own),
                "peak_gib": statistics.median(result.peak_gib for result in own),
                "start_s": statistics.median(result.start_s for result in own),
            }
        )
    return rows


def _spread_or_none(values: list[float]) -> dict[str, float] | None:
    return asdict(Spread.of(values)) if values else None


_COLUMNS = ("", "s a step", "tokens/s", "× medlora's time", "× its CPU time", "loss", "peak GiB", "start s")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `summarize` in Markdown: medians, in brackets the range of the rounds."""
    lines = [_COLUMNS, ("---",) * len(_COLUMNS)]
    for row in rows:
        times, cpu = row["times_as_long"], row["times_the_cpu"]
        lines.append(
            (
                row["contestant"],
                Spread(**row["step_s"]).show(),
                f"{row['tokens_per_second']:.0f}",
                Spread(**times).show() if times else "-",
                Spread(**cpu).show() if cpu else "-",
                f"{row['loss']:.4f}",
                f"{row['peak_gib']:.2f}",
                f"{row['start_s']:.0f}",
            )
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
