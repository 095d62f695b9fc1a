"""How long Stop takes: from the press to the last event of the answer, through the real chat process."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from medlora.services.chat_engine import ChatEngine
from medlora.services.chat_events import EngineEvent, ModelFolder, Question, Sampling, Text
from medlora.workspace import Workspace

_TIMES = 5


def measure_stop(bench: Any, threads: int) -> None:
    """Stop after a few words, several times."""
    model = ModelFolder("benchmark", str(bench.folder))
    sampling = Sampling(max_new_tokens=900, temperature=0.0)
    with ChatEngine(Workspace.open(), threads=threads) as engine:
        for number in range(_TIMES):
            turns = ({"role": "user", "content": f"Explain in detail what asthma is, part {number}."},)
            answer = engine.generate(Question(model, None, turns, sampling), "benchmark")
            next(event for event in answer if isinstance(event, Text))
            bench.note("from Stop to the end of the answer, s", "medlora", _stop(engine, answer))


def _stop(engine: ChatEngine, answer: Generator[EngineEvent, None, None]) -> float:
    began = time.perf_counter()
    engine.stop("benchmark")
    list(answer)
    return time.perf_counter() - began
