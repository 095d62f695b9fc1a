"""One journey, from an upload to a chat with what was trained on it, watched from outside.

The dataset and the question carry a word that occurs nowhere else. It must lie where the user put it and
nowhere more, be gone when the user says so, and never leave the machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medlora.services import configure, data
from medlora.workspace import Workspace
from tests.browser.conftest import App
from tests.gradio_http import Script
from tests.tiny_models import make_tiny_model, write_tiny_dataset

pytestmark = pytest.mark.torch
HERE = Path(__file__).parent
ROWS_WORD, CHAT_WORD = "quokkamarsh-7719", "wombatglade-2203"
LOOPBACK = re.compile(
    r"'(?:127\.0\.0\.1|localhost|::1|0\.0\.0\.0)'|^socket\.\w+ None|\('127\.|\('::1'|/\S+\.sock"
)
CONFIG = """\
model:
  base_model_name: {model}
lora:
  r: 2
  target_modules: all-linear
training:
  max_steps: 4
  logging_steps: 1
  save_steps: 2
  eval_steps: 2
data:
  max_seq_length: 256
inference:
  max_new_tokens: 8
"""


@dataclass
class Journey:
    """What was used and where it may have left something."""

    app: App
    folder: Path
    adapter: str

    @property
    def places(self) -> list[Path]:
        return [self.folder / name for name in ("home", "temporary", "own", "hub", "egress.log", "app.log")]

    def holding(self, word: str) -> list[str]:
        """Every file whose name or bytes hold the word."""
        files = [path for place in self.places for path in (place, *place.rglob("*")) if path.is_file()]
        return sorted(
            str(path.relative_to(self.folder))
            for path in files
            if word in path.name or word.encode() in path.read_bytes()
        )


def upload(script: Script, path: Path) -> None:
    files = {"files": (path.name, path.read_bytes(), "application/json")}
    (stored,) = script.client.post("/gradio_api/upload", files=files).json()
    value = {"path": stored, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
    outcome = script.press("data-upload", "upload", **{"data-upload": value})
    assert outcome.success, outcome.error


def write_rows(folder: Path) -> Path:
    path = write_tiny_dataset(folder / "letters.jsonl", rows=12)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        row["response"] += f" Ask for {ROWS_WORD}."
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def await_end(home: Path) -> str:
    """The adapter of the only run, once it has ended."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for record in home.glob("experiments/*/config.json"):
            results = json.loads(record.read_text("utf-8"))["results"]
            if results:
                return str(results["adapter"])
        time.sleep(0.3)
    raise AssertionError("the run did not end")


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    folder = tmp_path_factory.mktemp("journey")
    for name in ("home", "temporary", "own", "hub", "given"):
        (folder / name).mkdir()
    app = App(folder / "home")
    app.environment = {
        "TMPDIR": str(folder / "temporary"),
        "HOME": str(folder / "own"),
        "HF_HOME": str(folder / "hub"),
        "EGRESS_LOG": str(folder / "egress.log"),
        "PYTHONPATH": str(HERE / "egress"),
    }
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN", "GRADIO_TEMP_DIR"):
        app.environment[name] = None
    text = CONFIG.format(model=make_tiny_model(folder / "given" / "tiny", "llama"))
    configure.save_draft(Workspace.open(app.home), text, "starter")
    app.start()
    try:
        with Script(app.url).open() as script:
            upload(script, write_rows(folder / "given"))
            assert script.press("data-add", **{"data-name": "letters"}).success
            assert script.press("data-rejects").success
        with Script(app.url).open() as script:
            started = script.press("train-start", **{"train-dataset": "letters"})
            assert started.success and not started.toasts, started
            adapter = await_end(app.home)
        with Script(app.url).open() as script:
            said = script.press(
                "chat-send",
                **{
                    "chat-message": f"How can I sleep better in {CHAT_WORD}?",
                    "chat-speaker": f"adapter:{adapter}",
                    "chat-greedy": True,
                },
            )
            assert said.success, said.error
            assert script.press("adapters-export", **{"adapters-chosen": adapter}).success
        yield Journey(app, folder, adapter)
    finally:
        app.end()


def test_nothing_but_this_machine_was_spoken_to(journey: Journey) -> None:
    lines = (journey.folder / "egress.log").read_text("utf-8").splitlines()
    processes = {line.split(" pid ")[1].split()[0] for line in lines}
    assert lines and len(processes) >= 1
    assert [line for line in lines if not LOOPBACK.search(line)] == []


def test_the_log_of_who_was_spoken_to_would_show_it(tmp_path: Path) -> None:
    """The test above could not fail if the hook were never loaded."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE / "egress"),
        "EGRESS_LOG": str(tmp_path / "log"),
    }
    code = (
        "import socket\n"
        "for act in (lambda: socket.getaddrinfo('hub.example.invalid', 443),\n"
        "            lambda: socket.create_connection(('192.0.2.1', 9), 0.05)):\n"
        "    try: act()\n"
        "    except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    lines = (tmp_path / "log").read_text("utf-8").splitlines()
    assert [line.split(" pid ")[0] for line in lines if not LOOPBACK.search(line)] == [
        "socket.getaddrinfo 'hub.example.invalid'",
        "socket.getaddrinfo '192.0.2.1'",
        "socket.connect ('192.0.2.1', 9)",
    ]


def test_rows_lie_in_the_dataset_alone_and_what_was_said_nowhere(journey: Journey) -> None:
    assert journey.holding(ROWS_WORD) == ["home/data/letters/source.jsonl"]
    assert journey.holding(CHAT_WORD) == []


def test_no_file_of_the_journey_is_open_to_others(journey: Journey) -> None:
    if os.name == "posix":
        loose = [path for path in (journey.folder / "home").rglob("*") if path.lstat().st_mode & 0o077]
        assert loose == []


def test_uploads_are_gone_after_a_proper_end_and_after_a_kill_with_the_next_start(journey: Journey) -> None:
    app = journey.app
    waiting = "not-added-yet-5512"
    path = journey.folder / "given" / "waiting.jsonl"
    path.write_text(json.dumps({"question": f"What is {waiting}?", "answer": "A word."}) + "\n", "utf-8")
    with Script(app.url).open() as script:
        upload(script, path)
    assert len(journey.holding(waiting)) == 1
    app.end()
    assert journey.holding(waiting) == []
    app.start()
    with Script(app.url).open() as script:
        upload(script, path)
    app.kill()
    app.start()
    assert journey.holding(waiting) == []


def test_erasing_the_dataset_leaves_none_of_its_words(journey: Journey) -> None:
    command = [sys.executable, "-m", "medlora", "data", "remove", "letters", "--everything"]
    environment = {**os.environ, "MEDLORA_HOME": str(journey.app.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert journey.holding(ROWS_WORD) == []
    # Only the audit, which cannot be edited, still names the adapter that answered.
    assert journey.holding("letters") == ["home/.medlora/audit/audit.jsonl"]
    assert data.list_datasets(Workspace.open(journey.app.home)) == []
