"""What a program that reaches the port can do, and what it leaves behind."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from medlora.ui.guard import LARGEST_BODY
from tests.browser.conftest import App
from tests.gradio_http import Script

UPLOAD = "/gradio_api/upload"
CRISIS = "He collapsed and is not breathing"


def uploads(app: App) -> list[Path]:
    return [path for path in (app.home / ".medlora" / "uploads").rglob("*") if path.is_file()]


def forged_upload(app: App, headers: dict[str, str]) -> httpx.Response:
    files = {"files": ("planted.jsonl", b'{"question": "a", "answer": "b"}', "application/json")}
    return httpx.post(app.url + UPLOAD, files=files, headers=headers, trust_env=False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1.evil.example"}, 400),
    ],
)
def test_a_file_posted_by_another_site_is_not_kept(
    shared_app: App, headers: dict[str, str], status: int
) -> None:
    before = uploads(shared_app)
    assert forged_upload(shared_app, headers).status_code == status
    assert uploads(shared_app) == before


def test_an_upload_larger_than_the_limit_is_refused_before_it_is_read(shared_app: App) -> None:
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1:{shared_app.port}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {LARGEST_BODY + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", shared_app.port), timeout=20) as port:
        port.sendall(head.encode())
        answer = port.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 413")
    assert uploads(shared_app) == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/meta-data/",
        "app.py",
        "{home}/.medlora/audit-keys/hmac.key",
        "{home}/data/sample/source.jsonl",
        "{home}/adapters",
    ],
)
def test_nothing_of_this_computer_is_served_as_a_file(shared_app: App, path: str) -> None:
    reply = httpx.get(
        f"{shared_app.url}/gradio_api/file={path.format(home=shared_app.home)}", trust_env=False
    )
    assert reply.status_code in (400, 403, 404)
    assert "root:" not in reply.text


@pytest.mark.parametrize("path", ["/etc/hostname", "http://127.0.0.1:1/x.jsonl", "../../app.py"])
def test_a_path_of_this_computer_does_not_pass_for_an_upload(shared_app: App, path: str) -> None:
    with Script(shared_app.url) as script:
        forged = {"path": path, "url": path, "orig_name": "x.jsonl", "meta": {"_type": "gradio.FileData"}}
        outcome = script.press("data-upload", "upload", **{"data-upload": forged})
    assert not outcome.success


def audit_entries(app: App) -> list[dict[str, Any]]:
    path = app.home / ".medlora" / "audit" / "audit.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


@pytest.mark.parametrize("route", ["queue/join", "run/{name}", "call/{name}"])
def test_the_safety_layer_judges_whoever_calls_the_chat_and_however(shared_app: App, route: str) -> None:
    before = len(audit_entries(shared_app))
    with Script(shared_app.url).open() as script:
        send = script.dependency("chat-send")
        values = [CRISIS, None, "base:starter", False, [], "", 64, True, 0, 1, 1, 0]
        body = {"data": values, "session_hash": script.session, "fn_index": send["id"], "trigger_id": None}
        reply = script.client.post(f"/gradio_api/{route.format(name=send['api_name'])}", json=body)
        assert reply.status_code == 200, reply.text
        if route.startswith("queue"):
            assert script.listen().success
        elif route.startswith("call"):
            script.client.get(f"/gradio_api/call/{send['api_name']}/{reply.json()['event_id']}")
    judged = [(entry["level"], entry["action"]) for entry in audit_entries(shared_app)[before:]]
    # `run` makes a generator take its first step only: the question is shown and nothing is answered.
    assert judged == ([] if route.startswith("run") else [("emergency", "block")])


def test_two_visitors_never_see_each_others_words(shared_app: App) -> None:
    """Interleaved, each with messages that are answered by a fixed text, so that no model is needed."""
    with Script(shared_app.url).open() as first, Script(shared_app.url).open() as second:
        for turn in range(3):
            for mine, script in (("ALPHA", first), ("OMEGA", second)):
                message = f"{mine}{turn} {CRISIS}"
                said = script.press("chat-send", **{"chat-message": message, "chat-speaker": "base:starter"})
                log = json.dumps(said.data)
                assert [f"{mine}{number}" in log for number in range(turn + 1)] == [True] * (turn + 1)
                assert ("OMEGA" if mine == "ALPHA" else "ALPHA") not in log


HOSTILE_NAME = "a\u202egnp.\u2028\x1b[31mINFO forged line\x85.jsonl"


def test_names_and_words_of_visitors_do_not_reach_the_log(shared_app: App) -> None:
    """Neither a second line nor a colour can be forged there, since nothing of them is written at all."""
    with Script(shared_app.url).open() as script:
        files = {"files": (HOSTILE_NAME, b"not json CANARY-IN-FILE\n", "application/json")}
        (path,) = script.client.post(UPLOAD, files=files).json()
        upload = {"path": path, "orig_name": HOSTILE_NAME, "meta": {"_type": "gradio.FileData"}}
        assert script.press("data-upload", "upload", **{"data-upload": upload}).success
        message = f"CANARY-IN-MESSAGE\n2026-01-01 INFO forged\u2028line \x1b[2J {CRISIS}"
        assert script.press("chat-send", **{"chat-message": message, "chat-speaker": "base:starter"}).success
        script.press("safety-judge", **{"safety-message": message})
        script.press("train-start", **{"train-dataset": f"nothing\n{message}"})
    logs = [
        shared_app.read_log(),
        *(path.read_text("utf-8", "replace") for path in log_files(shared_app.home)),
    ]
    written = "\n".join(logs)
    for word in ("CANARY", "forged", "\x1b", "\u2028", "\u202e"):
        assert word not in written


def log_files(home: Path) -> list[Path]:
    return [*(home / ".medlora" / "logs").rglob("*"), *(home / "experiments").rglob("log.txt")]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_whatever_the_app_wrote_is_its_owners_alone(shared_app: App) -> None:
    open_to_others = [
        path for path in shared_app.home.rglob("*") if path.lstat().st_mode & 0o077 and not path.is_symlink()
    ]
    assert open_to_others == []
