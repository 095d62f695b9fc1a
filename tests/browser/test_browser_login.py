"""The login as a person meets it, and what a tester sees behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from medlora.services import users
from medlora.workspace import Workspace
from tests.browser.conftest import App, Visit

pytestmark = pytest.mark.browser
Visitor = Callable[[App], Visit]
PASSWORD = "correct horse battery"


@pytest.fixture
def guarded_app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path / "home")
    workspace = Workspace.open(app.home)
    users.add_user(workspace, "ada", "admin", PASSWORD)
    users.add_user(workspace, "tom", "tester", PASSWORD)
    app.environment = {"MEDLORA_LOGIN": "1"}
    try:
        app.start()
        yield app
    finally:
        app.end()


def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_a_tester_logs_in_sees_chat_and_judging_alone_and_logs_out(guarded_app: App, visit: Visitor) -> None:
    guest = visit(guarded_app)
    page = guest.page
    page.goto(guest.url)
    log_in(page, "tom", "a wrong password")
    page.get_by_role("alert").get_by_text("do not belong together").wait_for()
    log_in(page, "tom")
    page.locator("#tabs [data-tab-id=data]").first.wait_for(state="hidden")
    page.get_by_role("heading", name="Chat", exact=True, level=2).wait_for()
    assert page.get_by_role("tab").all_inner_texts() == ["Chat", "Evaluate"]
    page.get_by_role("tab", name="Evaluate").click()
    page.get_by_role("heading", name="Compare blind").wait_for()
    assert page.get_by_role("tab").all_inner_texts()[2:] == ["Compare blind", "Test scripts"]
    page.locator(".ml-account", has_text="tom").wait_for()
    assert page.locator(".toast-body").count() == 0, "what is refused silently is never offered"
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Password").wait_for()
    log_in(page, "ada")
    page.get_by_role("tab", name="Safety").wait_for()
    assert guest.foreign == []
