from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ASK = """
import sys
from pathlib import Path
from medlora.errors import UserError
from medlora.models.hub import download_model
from medlora.workspace import Workspace
try:
    files = download_model(Workspace.open(Path(sys.argv[1])), sys.argv[2], lambda detail, fraction: None)
    print(files.name, files.revision, sorted(path.name for path in files.path.iterdir()))
except UserError as error:
    print(error)
print("torch" in sys.modules)
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": b"x" * 64,
    "weights.bin": b"y" * 64,
}


class Hub(BaseHTTPRequestHandler):
    """A model hub with one open model and one gated one, as far as a client can tell."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if "/own/gated" in path:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif "/own/open" not in path:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif "/resolve/" in path:
            name = path.rsplit("/", 1)[1]
            self.answer(200, FILES[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        elif "/tree/" in path:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": name} for name, data in FILES.items()
            ]
            self.answer(200, json.dumps(tree).encode(), {})
        else:
            siblings = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            info = {"id": "own/open", "sha": COMMIT, "siblings": siblings}
            self.answer(200, json.dumps(info).encode(), {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def ask(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask_hub(name: str, endpoint: str | None = None, **more: str) -> list[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        env |= {
            "HF_ENDPOINT": endpoint or f"http://127.0.0.1:{server.server_port}",
            "HF_HUB_DISABLE_XET": "1",
        }
        env |= {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1", **more}
        command = [sys.executable, "-c", ASK, str(tmp_path / "home"), name]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().split("\n")

    yield ask_hub
    server.shutdown()
    server.server_close()


def test_a_model_is_fetched_without_pickles_and_without_torch(ask):
    assert ask("own/open") == [
        f"own/open {COMMIT} ['config.json', 'model.safetensors', 'tokenizer.json']",
        "False",
    ]


def test_a_pinned_commit_is_fetched_and_no_other(ask):
    pinned = f"own/open@{COMMIT}"
    assert ask(pinned)[0] == f"{pinned} {COMMIT} ['config.json', 'model.safetensors', 'tokenizer.json']"
    assert ask(pinned, HF_HUB_OFFLINE="1")[0].startswith(f"{pinned} {COMMIT}"), "it is found again"
    other = f"own/open@{'f' * 40}"
    assert ask(other, HF_HUB_OFFLINE="1")[0] == (
        f"model: {other}: it is not on this machine, and HF_HUB_OFFLINE forbids fetching it"
    )


def test_a_gated_model_says_how_to_get_access(ask):
    assert ask("own/gated")[0] == (
        "model: own/gated: access is granted on request; accept its terms on its page, then set HF_TOKEN "
        "to a token of your account and start medlora again"
    )


def test_a_model_that_is_not_there_is_said_so(ask):
    assert ask("own/missing", HF_TOKEN="hf_x")[0] == (
        "model: own/missing: the hub has no such model, or it is private; correct the name, or set HF_TOKEN "
        "to a token of your account that may read it (the present one may not)"
    )


def test_a_hub_that_cannot_be_reached_is_said_so(ask):
    assert ask("own/open", endpoint="http://127.0.0.1:9")[0] == (
        "model: own/open: the model hub cannot be reached (ConnectError); check the network, "
        "or use the starter model or a local folder"
    )


def test_offline_is_respected(ask):
    assert ask("own/open", HF_HUB_OFFLINE="1")[0] == (
        "model: own/open: it is not on this machine, and HF_HUB_OFFLINE forbids fetching it"
    )


def test_a_word_that_names_no_model_is_refused(ask):
    assert ask("stater")[0] == (
        "model: base_model_name: there is no model of this name here (got 'stater'); "
        "name the starter, a Hub id (owner/model) or a folder with config.json and safetensors"
    )
