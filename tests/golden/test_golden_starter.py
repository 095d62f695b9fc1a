"""The whole way with real weights: the starter from the package index, the sample dataset, the command line.

The loss falls, the adapter answers otherwise than its base, and an emergency reaches neither.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from medlora.workspace import Workspace
from tests.golden.kit import CHECKOUT, losses_of

QUESTION = "What is asthma?"
EMERGENCY = "dad went grey and sweaty and is clutching his chest"


class Terminal:
    """`python -m medlora` in a home of its own, as a user types it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "medlora", *arguments, "--json"],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            env=os.environ | {"MEDLORA_HOME": str(self.home), "OMP_NUM_THREADS": "1"},
            timeout=280,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def test_the_starter_learns_from_the_sample_dataset_and_answers_otherwise(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "home")
    sample = "data/sample_patient_education.jsonl"
    report = terminal.run("data", "check", sample, "--config", "starter")
    assert report["rows"] == report["valid"] >= 200

    settings = [
        "training.max_steps=10",
        "training.gradient_accumulation_steps=2",
        "training.learning_rate=1.0e-3",
        "data.eval_dataset_size=0.03",
    ]
    sets = [part for setting in settings for part in ("--set", setting)]
    ended = terminal.run("train", "--config", "starter", "--data", sample, "--name", "sample", *sets)
    assert (ended["status"], ended["adapter"], ended["steps"]) == ("completed", "sample", 10)
    losses = losses_of(Workspace.open(terminal.home).run(ended["run_id"]))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])

    ask = ("chat", "--adapter", "sample", "--message")
    learned, base = terminal.run(*ask, QUESTION), terminal.run(*ask, QUESTION, "--base")
    assert (learned["adapter"], base["adapter"]) == ("sample", None)
    assert learned["text"] != base["text"] and learned["tokens"] > 10 and base["tokens"] > 10
    stopped = terminal.run(*ask, EMERGENCY)
    assert (stopped["level"], stopped["action"], stopped["tokens"]) == ("emergency", "block", 0)
