"""The login over real HTTP: nobody unknown gets past it, and a tester does nothing but test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medlora.services import data, users
from medlora.workspace import Workspace
from tests.browser.conftest import ROOT, App, find_free_port
from tests.gradio_http import Script
from tests.tiny_models import write_tiny_dataset

PASSWORD = "correct horse battery"
CRISIS = "He collapsed and is not breathing"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("login")
    (folder / "home").mkdir()
    app = App(folder / "home")
    workspace = Workspace.open(app.home)
    users.add_user(workspace, "ada", "admin", PASSWORD)
    users.add_user(workspace, "tom", "tester", PASSWORD)
    data.add_dataset(workspace, write_tiny_dataset(folder / "ward.jsonl", rows=12))
    app.environment = {"MEDLORA_LOGIN": "1"}
    try:
        app.start()
        yield app
    finally:
        app.end()


def log_in(app: App, name: str, password: str = PASSWORD) -> Script:
    script = Script(app.url)
    script.client.post("/login", data={"name": name, "password": password})
    return script


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/config"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/heartbeat/x"),
        ("GET", "/gradio_api/queue/data?session_hash=x"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/theme.css"),
        ("GET", "/gradio_api/app_id"),
        ("GET", "/assets/x"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/send"),
        ("POST", "/gradio_api/call/send"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/reset"),
        ("PUT", "/"),
    ],
)
def test_whoever_is_unknown_sees_the_login_alone(app: App, method: str, path: str) -> None:
    reply = httpx.request(method, app.url + path, trust_env=False, timeout=20)
    if reply.status_code == 303:
        assert reply.headers["location"] == "/login" and not reply.content
    else:
        assert (reply.status_code, reply.text) == (401, "Please log in first.")


def test_the_login_page_loads_nothing_and_says_where_it_leads(app: App) -> None:
    reply = httpx.get(f"{app.url}/login", trust_env=False)
    assert reply.status_code == 200 and "<form" in reply.text
    assert not re.search(r"(?:src|href)=\"(?!data:)", reply.text)
    assert reply.headers.get_list("content-security-policy")[0].startswith("default-src 'none'")
    assert len(reply.headers.get_list("content-security-policy")) == 1
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_wrong_password_opens_nothing(app: App) -> None:
    with Script(app.url) as script:
        reply = script.client.post("/login", data={"name": "ada", "password": "<b>wrong</b>"})
        assert reply.status_code == 403
        assert "This name and password do not belong together." in reply.text and "<b>" not in reply.text
        assert script.client.get("/config").status_code in (303, 401)


def test_a_login_from_another_site_is_refused(app: App) -> None:
    form = {"name": "ada", "password": PASSWORD}
    reply = httpx.post(
        f"{app.url}/login", data=form, headers={"Origin": "http://evil.example"}, trust_env=False
    )
    assert reply.status_code == 403 and "set-cookie" not in reply.headers


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(app: App) -> None:
    reply = httpx.post(f"{app.url}/login", data={"name": "ada", "password": PASSWORD}, trust_env=False)
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "path=/" in cookie
    assert PASSWORD not in cookie and "ada" not in cookie.split(";")[0].removeprefix("medlora-session=")[:3]


def test_a_forged_cookie_opens_nothing(app: App) -> None:
    for value in ("", "x", "ada", "../users.json", "0" * 5000):
        reply = httpx.get(
            f"{app.url}/config", headers={"Cookie": f"medlora-session={value}"}, trust_env=False
        )
        assert reply.status_code in (303, 401)


def test_an_admin_gets_everything_and_loses_it_by_logging_out(app: App) -> None:
    with log_in(app, "ada") as script:
        assert script.open().press("safety-verify").data[0]
        assert script.client.post("/logout").headers["location"] == "/login"
        assert script.client.get("/config").status_code in (303, 401)


ADMINS_EVENTS = [
    ("data-sample", "click"),
    ("data-add", "click"),
    ("data-sure", "agree"),
    ("data-rejects", "click"),
    ("data-upload", "upload"),
    ("train-start", "click"),
    ("train-stop", "click"),
    ("train-resume", "click"),
    ("train-sure", "agree"),
    ("adapters-export", "click"),
    ("adapters-sure", "agree"),
    ("safety-verify", "click"),
    ("safety-file", "upload"),
    ("config-text", "change"),
]


@pytest.mark.parametrize(("elem_id", "event"), ADMINS_EVENTS)
def test_a_tester_who_calls_what_is_an_admins_gets_nothing(app: App, elem_id: str, event: str) -> None:
    before = snapshot(app.home)
    with log_in(app, "tom") as script:
        outcome = script.press(elem_id, event)
    shown = [value for value in outcome.data if value not in (None, {"__type__": "update"})]
    assert [value for value in shown if not (isinstance(value, dict) and value.get("__type__"))] == []
    assert snapshot(app.home) == before


def snapshot(home: Path) -> dict[str, int]:
    """What lies on the disk, but for what a tester may write: ratings, and the audit of what they did."""
    return {
        str(path): path.stat().st_size
        for path in home.rglob("*")
        if path.is_file()
        and not {"access", "audit", "audit-keys", "locks", "cache", "feedback"} & set(path.parts)
    }


def test_every_event_but_those_of_chat_and_trying_is_closed_to_a_tester(app: App) -> None:
    """Not the ones that a list names, but all that the page has: what they change on the disk is nothing."""
    before = snapshot(app.home)
    with log_in(app, "tom") as script:
        for dependency in script.config["dependencies"]:
            if dependency["backend_fn"] and dependency["targets"]:
                script.call(dependency)
    assert snapshot(app.home) == before
    assert [card.name for card in data.list_datasets(Workspace.open(app.home))] == ["ward"]


def test_a_tester_cannot_upload_and_cannot_read_the_audit(app: App) -> None:
    with log_in(app, "tom") as script:
        files = {"files": ("x.jsonl", b"{}", "application/json")}
        assert script.client.post("/gradio_api/upload", files=files).status_code == 403
        opened = script.call(script.dependency_of_tab("safety"))
        assert "ml-table" not in str(opened.data)


def test_a_tester_chats(app: App) -> None:
    with log_in(app, "tom").open() as script:
        said = script.press("chat-send", **{"chat-message": CRISIS, "chat-speaker": "base:starter"})
        assert said.success and "ml-fixed-emergency" in str(said.data)


def test_a_removed_user_is_out_at_once(app: App) -> None:
    workspace = Workspace.open(app.home)
    users.add_user(workspace, "eve", "admin", PASSWORD)
    with log_in(app, "eve") as script:
        assert script.client.get("/config").status_code == 200
        users.remove_user(workspace, "eve")
        assert script.client.get("/config").status_code in (303, 401)


def test_health_is_told_to_whoever_asks_and_nothing_else_is(app: App) -> None:
    assert httpx.get(f"{app.url}/health", trust_env=False).text == "ok"


def test_passwords_are_in_no_log(app: App) -> None:
    assert PASSWORD not in app.read_log()


def start(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The app started where it should refuse."""
    command = [sys.executable, "-m", "medlora", "app", "--port", str(find_free_port()), *arguments]
    variables = {**os.environ, "MEDLORA_HOME": str(home), "CI": "1", **environment}
    return subprocess.run(
        command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0"),
        (["--host", "192.0.2.7"], "192.0.2.7"),
        (["--login"], "127.0.0.1"),
        (["--allow-host", "medlora.hospital.example"], "127.0.0.1"),
        (["--trusted-proxy", "10.0.0.1"], "127.0.0.1"),
    ],
)
def test_the_app_does_not_start_for_others_while_nobody_could_log_in(
    tmp_path: Path, arguments: list[str], got: str
) -> None:
    done = start(tmp_path / "home", *arguments)
    assert done.returncode == 2
    assert done.stderr == (
        f"--host: others could reach this address (got '{got}'), and there is no admin who could log in; "
        "add one first: python -m medlora users add NAME --role admin\n"
    )


def test_a_tester_alone_is_not_enough_to_start_for_others(tmp_path: Path) -> None:
    users.add_user(Workspace.open(tmp_path / "home"), "tom", "tester", PASSWORD)
    assert start(tmp_path / "home", "--host", "0.0.0.0").returncode == 2
