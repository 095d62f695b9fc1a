"""The gate before the page: proxies, their logins, cookies, and handlers that nobody forgot to lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from medlora.access.roles import GUEST, OWNER
from medlora.errors import UserError
from medlora.services import users
from medlora.services.users import Door
from medlora.ui.access_options import AccessOptions, served_names
from medlora.ui.gate import CALLER, Everyone, Gate, HeaderLogin, Identity, PasswordLogin, Proxies
from medlora.ui.launch import LaunchOptions, choose_identity
from medlora.workspace import Workspace

PASSWORD = "correct horse battery"
HEADER = "X-Remote-User"


async def tell_caller(request: Request) -> Response:
    caller = request.scope[CALLER]
    return PlainTextResponse(f"{caller.name}/{caller.role.value}")


def client(identity: Identity, peer: str = "10.0.0.5") -> TestClient:
    app = Starlette(
        routes=[Route("/{path:path}", tell_caller, methods=["GET", "POST"])],
        middleware=[Middleware(Gate, identity=identity)],
    )
    return TestClient(app, client=(peer, 4711), follow_redirects=False)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace.open(tmp_path / "home")
    users.add_user(workspace, "ada", "admin", None)
    users.add_user(workspace, "tom", "tester", PASSWORD)
    return workspace


@pytest.fixture
def proxies() -> Proxies:
    return Proxies(AccessOptions(proxies=("10.0.0.0/24",)).networks())


def test_the_proxys_word_counts_for_users_that_there_are(ws: Workspace, proxies: Proxies) -> None:
    page = client(HeaderLogin(Door(ws), proxies, HEADER))
    assert page.get("/", headers={HEADER: "ada"}).text == "ada/admin"
    assert page.get("/", headers={HEADER: "TOM"}).text == "tom/tester"
    for headers in ({HEADER: "mallory"}, {HEADER: ""}, {}):
        reply = page.get("/", headers=headers)
        expected = "You have no access to medlora. Ask its administrator to add you."
        assert (reply.status_code, reply.text) == (403, expected)


def test_nobody_but_the_proxy_may_say_who_is_calling(ws: Workspace, proxies: Proxies) -> None:
    page = client(HeaderLogin(Door(ws), proxies, HEADER), peer="10.0.1.5")
    forged = {HEADER: "ada", "X-Forwarded-For": "10.0.0.5"}
    assert page.get("/", headers=forged).status_code == 403


def test_a_header_sent_twice_names_nobody(ws: Workspace, proxies: Proxies) -> None:
    page = client(HeaderLogin(Door(ws), proxies, HEADER))
    assert page.get("/", headers=[(HEADER, "tom"), (HEADER, "ada")]).status_code == 403


def test_behind_tls_the_cookie_is_sent_over_tls_alone(ws: Workspace, proxies: Proxies) -> None:
    form = {"name": "tom", "password": PASSWORD}
    for peer, secure in (("10.0.0.5", True), ("192.0.2.1", False)):
        page = client(PasswordLogin(Door(ws), proxies), peer)
        reply = page.post("/login", data=form, headers={"X-Forwarded-Proto": "https"})
        assert reply.status_code == 303
        assert ("secure" in reply.headers["set-cookie"].lower()) is secure


def test_tries_are_counted_by_the_visitor_and_not_by_the_proxy(ws: Workspace, proxies: Proxies) -> None:
    page = client(PasswordLogin(Door(ws), proxies))
    wrong = {"name": "tom", "password": "wrong wrong wrong"}
    replies = [
        page.post("/login", data=wrong, headers={"X-Forwarded-For": f"1.2.3.4, 198.51.100.{number}"})
        for number in (7, 7, 7, 7, 7, 7, 8)
    ]
    assert ["Too many tries" in reply.text for reply in replies] == [False] * 5 + [True, False]


def test_a_form_larger_than_a_login_is_not_read(ws: Workspace, proxies: Proxies) -> None:
    page = client(PasswordLogin(Door(ws), proxies))
    reply = page.post("/login", data={"name": "tom", "password": PASSWORD, "more": "x" * 5000})
    assert reply.status_code == 403


def test_a_guest_posts_nothing_but_events(ws: Workspace) -> None:
    page = client(Everyone(GUEST))
    assert page.post("/gradio_api/queue/join").text == "/guest"
    for path in ("/gradio_api/upload", "/gradio_api/component_server", "/anything"):
        assert page.post(path).status_code == 403
    assert client(Everyone(OWNER)).post("/gradio_api/upload").text == "/admin"


_LIST_ODD = """
from medlora.services.chat import ChatService
from medlora.ui.page import build_page
from medlora.workspace import Workspace

page = build_page(Workspace.open())
functions = [block.fn for block in page.demo.fns.values() if block.fn is not None]
loose = [function for function in functions if not hasattr(function, "needs")]
assert len(functions) - len(loose) > 20
for function in loose:
    held = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    if any(isinstance(value, Workspace | ChatService) for value in held):
        print("loose:", function.__qualname__)
unseen = [block for block in page.demo.fns.values() if block.show_progress == "hidden"]
assert len(unseen) > 100
for block in unseen:
    told = [type(widget).__name__ for widget in block.show_progress_on or block.outputs]
    if block.show_progress_on != [] and told != ["Chatbot"]:
        print("tells how far it is:", block.targets, told)
page.chat.close()
"""


def test_every_event_is_locked_unless_it_says_for_whom_and_a_hidden_one_tells_no_widget(
    ws: Workspace,
) -> None:
    """What is not behind `guarded` may only move the page: it holds neither a workspace nor the chat.

    What a hidden event tells a widget nobody sees, and the page looks for that widget again and again.
    """
    environment = {**os.environ, "MEDLORA_HOME": str(ws.home)}
    done = subprocess.run(
        [sys.executable, "-c", _LIST_ODD],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AccessOptions(hosts=("http://x",)), "--allow-host: this is no host name (got 'http://x')"),
        (AccessOptions(proxies=("here",)), "--trusted-proxy: 'here' does not appear to be"),
        (AccessOptions(login_header="X-User"), "--login-header: anybody could send this header"),
        (AccessOptions(login_header="X User", proxies=("10.0.0.1",)), "--login-header: this is no header's"),
        (AccessOptions(certificate=Path("c.pem")), "--tls-cert, --tls-key: one needs the other"),
        (AccessOptions(certificate=Path("no.pem"), key=Path("no.pem")), "no.pem: there is no such file"),
        (AccessOptions(session_hours=0), "--session-hours: more than 0, at most 744 (got 0)"),
    ],
)
def test_an_option_that_is_wrong_or_means_nothing_alone_is_refused(
    options: AccessOptions, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        options.check()
    assert message in str(caught.value)


def test_options_come_from_the_environment_too() -> None:
    options = AccessOptions.from_environment(
        {
            "MEDLORA_LOGIN": "true",
            "MEDLORA_ALLOWED_HOSTS": "a.example, b.example",
            "MEDLORA_TRUSTED_PROXIES": "10.0.0.1",
            "MEDLORA_LOGIN_HEADER": HEADER,
            "MEDLORA_SESSION_HOURS": "2",
        }
    )
    expected = (True, ("a.example", "b.example"), ("10.0.0.1",), HEADER, 2.0)
    assert (
        options.login,
        options.hosts,
        options.proxies,
        options.login_header,
        options.session_hours,
    ) == expected
    with pytest.raises(UserError, match="env MEDLORA_SESSION_HOURS: not a number \\(got 'long'\\)"):
        AccessOptions.from_environment({"MEDLORA_SESSION_HOURS": "long"})


def test_the_names_served_are_this_computers_and_those_that_were_allowed() -> None:
    assert "medlora.example" in served_names("127.0.0.1", AccessOptions(hosts=("Medlora.example",)))
    assert served_names("192.0.2.7", AccessOptions()) == {"127.0.0.1", "localhost", "::1", "192.0.2.7"}
    everywhere = served_names("0.0.0.0", AccessOptions())
    assert "127.0.0.1" in everywhere and "0.0.0.0" not in everywhere and "evil.example" not in everywhere


def test_on_this_computer_alone_nobody_logs_in_and_for_others_everybody_does(ws: Workspace) -> None:
    assert isinstance(choose_identity(ws, LaunchOptions()), Everyone)
    with pytest.raises(UserError, match="no admin who could log in"):
        choose_identity(ws, LaunchOptions(host="0.0.0.0"))
    users.add_user(ws, "root", "admin", PASSWORD)
    assert isinstance(choose_identity(ws, LaunchOptions(host="0.0.0.0")), PasswordLogin)
    by_proxy = AccessOptions(proxies=("10.0.0.1",), login_header=HEADER)
    assert isinstance(choose_identity(ws, LaunchOptions(access=by_proxy)), HeaderLogin)
