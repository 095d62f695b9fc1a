"""The chat process as its client meets it: a real process, spoken to in lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medlora.inference.protocol import PROTOCOL
from medlora.services import chat_process
from tests.speaking_models import QUESTION, SAYS

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[3]


class Worker:
    """A worker on pipes."""

    def __init__(self, log: Path, cwd: Path) -> None:
        self.log = log
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "medlora.inference.worker", "--threads", "1"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=cwd,
                env=environment,
            )

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        return message

    def hear_until(self, *kinds: str) -> list[dict[str, Any]]:
        heard = [self.hear()]
        while heard[-1]["ev"] not in kinds:
            heard.append(self.hear())
        return heard

    def ask(self, number: int, base: Path, adapter: Path | None = None, **changes: Any) -> None:
        sampling = {"max_new_tokens": changes.pop("count", 40), "temperature": 0.0}
        message = {
            "op": "generate",
            "id": number,
            "base": {"name": "tiny", "folder": str(base)},
            "adapter": {"name": adapter.name, "folder": str(adapter)} if adapter else None,
            "messages": [{"role": "user", "content": QUESTION}],
            "sampling": sampling,
        }
        self.send(**{**message, **changes})

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    worker = Worker(folder / "log.txt", folder)
    ready = worker.hear()
    assert (ready["ev"], ready["protocol"], ready["threads"]) == ("ready", PROTOCOL, 1)
    yield worker
    worker.close()


def test_both_sides_speak_one_version() -> None:
    assert chat_process.PROTOCOL == PROTOCOL


def test_an_answer_is_streamed_with_its_label_and_figures(
    worker: Worker, tiny_base: Path, tiny_adapter: Path
) -> None:
    worker.ask(1, tiny_base, tiny_adapter)
    heard = worker.hear_until("done")
    assert {message["id"] for message in heard} == {1}
    kinds = [message["ev"] for message in heard]
    assert kinds[:3] == ["stage", "stage", "start"]
    pieces = [message["text"] for message in heard if message["ev"] == "text"]
    assert "".join(pieces) == SAYS
    assert len(pieces) > 5
    done = heard[-1]
    assert (done["stopped"], done["truncated"]) == (False, False)
    assert done["tokens"] >= len(pieces)
    assert done["seconds_to_first_token"] > 0
    assert done["tokens_per_second"] > 1


def test_a_long_answer_is_cut_and_says_so(worker: Worker, tiny_base: Path) -> None:
    worker.ask(2, tiny_base, count=5)
    done = worker.hear_until("done")[-1]
    assert (done["truncated"], done["tokens"]) == (True, 5)


def test_after_stop_nothing_more_is_said_and_the_next_question_is_answered(
    worker: Worker, tiny_base: Path
) -> None:
    worker.ask(10, tiny_base, count=900)
    worker.hear_until("text")
    worker.send(op="stop", id=10)
    worker.ask(11, tiny_base, count=3)
    heard = worker.hear_until("done")
    assert heard[-1]["id"] == 10
    assert heard[-1]["stopped"]
    assert heard[-1]["tokens"] < 900
    after = worker.hear_until("done")
    assert {message["id"] for message in after} == {11}
    assert after[-1]["tokens"] == 3


def test_what_the_user_can_mend_is_an_error_in_words(worker: Worker, tiny_base: Path, tmp_path: Path) -> None:
    worker.ask(20, tiny_base, tmp_path / "absent")
    error = worker.hear_until("error")[-1]
    assert (error["kind"], error["message"]) == (
        "request",
        "adapter absent: adapter_config.json cannot be read (FileNotFoundError)",
    )


def test_a_bug_is_logged_without_what_the_user_wrote(worker: Worker, tiny_base: Path) -> None:
    worker.ask(30, tiny_base, messages=[{"role": "user", "content": "CANARY"}], sampling={"CANARY": 1})
    error = worker.hear_until("error")[-1]
    assert (error["kind"], error["message"]) == ("bug", "TypeError")
    log = worker.log.read_text(encoding="utf-8")
    assert "read_request" in log
    assert "CANARY" not in log
    worker.ask(31, tiny_base, count=3)
    assert worker.hear_until("done", "error")[-1]["ev"] == "done"


def test_memory_is_given_back_and_taken_again(worker: Worker, tiny_base: Path) -> None:
    worker.send(op="free")
    assert worker.hear() == {"ev": "freed"}
    worker.ask(40, tiny_base, count=3)
    assert worker.hear_until("done")[0] == {"ev": "stage", "id": 40, "stage": "loading_model"}


def test_it_ends_when_its_input_ends_even_while_it_starts(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "log.txt", tmp_path)
    worker.close()
    assert worker.process.returncode == 0


def test_it_ends_in_the_middle_of_an_answer_when_its_client_is_gone(tmp_path: Path, tiny_base: Path) -> None:
    worker = Worker(tmp_path / "log.txt", tmp_path)
    worker.ask(1, tiny_base, count=1000)
    worker.hear_until("text")
    worker.close()
    assert worker.process.returncode == 0
