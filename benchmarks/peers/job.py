"""What a contestant of benchmarks/train.py is asked to do, and how it answers: one JSON file, one JSON line.

Runs in the contestants' own environments, so it imports nothing but Python.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ANSWER = "ANSWER "
IGNORED = -100


@dataclass(frozen=True)
class Job:
    """One run of one contestant. rows: input_ids and labels, in the order in which they are to be seen."""

    model: str
    rows: list[dict[str, list[int]]]
    steps: int
    folder: str
    dropout: float
    rank: int = 32
    alpha: int = 64
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    batch: int = 2
    accumulation: int = 4
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    seed: int = 42
    device: str = "cpu"

    @property
    def effective(self) -> int:
        """Rows of one step."""
        return self.batch * self.accumulation

    def save(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Job:
        """The job whose file is the program's last argument."""
        values = json.loads(Path(arguments[-1]).read_text(encoding="utf-8"))
        return cls(**{**values, "modules": tuple(values["modules"])})


def mark(ids: Iterable[int], labels: Iterable[int]) -> str:
    """A short name of one row of tokens with its label positions."""
    return hashlib.sha256(json.dumps([list(ids), list(labels)]).encode()).hexdigest()[:16]


def answer(values: dict[str, Any]) -> None:
    """Print what was measured, as the last line."""
    sys.stdout.write(f"\n{ANSWER}{json.dumps(values)}\n")
    sys.stdout.flush()


def read_answer(output: str) -> dict[str, Any]:
    """What a contestant answered. Raises: ValueError when it did not."""
    lines = [line for line in output.splitlines() if line.startswith(ANSWER)]
    if not lines:
        raise ValueError("it ended without an answer")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(ANSWER))
    return found
