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

import pytest

from medlora.models.files import find_model
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


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    return Terminal(tmp_path_factory.mktemp("starter") / "home")


def test_the_starter_learns_from_the_sample_dataset_and_answers_otherwise(terminal: Terminal) -> None:
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


@pytest.mark.torch
def test_in_chat_the_starter_says_what_the_library_says(terminal: Terminal) -> None:
    """After the test above: the model and the adapter it made, hot-swapped, alone and side by side."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from medlora.inference.engine import Engine
    from medlora.inference.protocol import AdapterFiles, BaseModel, Request, Sampling

    ws = Workspace.open(terminal.home)
    files, adapter = find_model(ws, "starter"), ws.adapter("sample")
    assert files is not None
    turns = ({"role": "user", "content": QUESTION},)
    base, sampling = BaseModel("starter", str(files.path)), Sampling(max_new_tokens=24)
    requests = [Request(base, each, turns, sampling) for each in (None, AdapterFiles("sample", str(adapter)))]
    heard: dict[int, list[str]] = {0: [], 1: [], 2: []}
    engine = Engine()
    ready = engine._weights.prepare(base, None, print)
    assert ready.decoder.can_join(ready.identity)

    def hear(event: str, of: int = 2, **fields: Any) -> None:
        heard[of] += [fields["text"]] if event == "text" else []

    engine.compare(requests, hear, lambda: False)
    engine.generate(requests[1], hear, lambda: False)
    engine.free()

    model = AutoModelForCausalLM.from_pretrained(files.path, dtype=torch.float32).eval()
    prompt = torch.tensor([ready.tokenizer.encode_prompt(turns)])
    settings = {"attention_mask": prompt * 0 + 1, "max_new_tokens": 24, "do_sample": False}
    said = [model.generate(prompt, **settings)]
    said.append(PeftModel.from_pretrained(model, adapter).eval().generate(input_ids=prompt, **settings))
    expected = [ready.tokenizer.decode(ids[0, prompt.shape[1] :].tolist()) for ids in said]
    assert ["".join(pieces) for pieces in heard.values()] == [*expected, expected[1]]
    assert expected[0] != expected[1]
