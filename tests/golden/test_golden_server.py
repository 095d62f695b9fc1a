"""A real server with OpenAI's interface: `transformers serve` with a tiny model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.services.chat import ChatService
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_model

pytestmark = pytest.mark.torch
ASKED = [{"role": "user", "content": "What is asthma?"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cache, log = model.parent / "cache", model.parent / "serve.log"
    cache.mkdir()
    command = [
        str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--device", "cpu",
        "--dtype", "float32", "--port", str(port), "--host", "127.0.0.1",
    ]  # fmt: skip
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(health, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not come up:\n{log.read_text(errors='replace')[-3000:]}")


def _settings(url: str, model: str, **more: object) -> Config:
    inference = {"base_url": url, "served_models": [model], "temperature": 0.0, "max_new_tokens": 12, **more}
    return Config.model_validate({"inference": inference})


def test_a_real_server_answers_behind_the_safety_layer(url: str, model: Path, tmp_path: Path) -> None:
    service = ChatService(Workspace.open(tmp_path / "home"))
    settings = service.settings_for_server(_settings(url, str(model)), str(model))
    last = list(service.reply("one", ASKED, settings))[-1]
    assert (last.done, last.error, last.stopped) == (True, None, False)
    assert 1 <= last.tokens <= 12
    host = url.removeprefix("http://").removesuffix("/v1")
    assert last.label == f"tiny at {host} · weights not verified"
    assert last.notices[0] == "The server takes no repetition penalty: it was left out."
    crisis = list(service.reply("two", [{"role": "user", "content": "I want to kill myself"}], settings))[-1]
    assert (crisis.level, crisis.tokens, crisis.label) == ("crisis", 0, None)


def test_a_model_that_a_real_server_lacks_is_named(url: str, tmp_path: Path) -> None:
    service = ChatService(Workspace.open(tmp_path / "home"))
    settings = service.settings_for_server(_settings(url, "no-such-model"), "no-such-model")
    with pytest.raises(UserError, match=r"has no model of this name \(got no-such-model\)"):
        list(service.reply("one", ASKED, settings))
