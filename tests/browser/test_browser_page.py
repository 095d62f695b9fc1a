"""The page as a browser meets it: what it loads, what it refuses, how it opens."""

import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from medlora.services import configure
from medlora.workspace import Workspace
from tests.browser.conftest import App, Visit
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
Visitor = Callable[[App], Visit]
TABS = ["Data", "Configure", "Train", "Chat", "Evaluate", "Adapters", "Safety"]


def ask(app: App, path: str = "/", **headers: str) -> int:
    request = urllib.request.Request(
        app.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_every_tab_opens_without_asking_another_machine_or_complaining(
    shared_app: App, visit: Visitor
) -> None:
    guest = visit(shared_app)
    page = guest.open()
    assert page.get_by_role("tab").all_inner_texts()[: len(TABS)] == TABS
    for tab in TABS:
        guest.show(tab)
        page.get_by_role("heading", name=tab, exact=True, level=2).wait_for()
    assert guest.foreign == []
    assert guest.complaints == []


def test_the_header_says_what_is_true(shared_app: App, visit: Visitor) -> None:
    page = visit(shared_app).open()
    header = page.locator("header.ml-header")
    header.get_by_text("CPU, 2 cores").wait_for()
    words = header.inner_text()
    assert "Local: nothing leaves this machine" in words and "Not a medical device" in words


def test_a_first_visit_begins_with_data_and_says_what_to_do(shared_app: App, visit: Visitor) -> None:
    page = visit(shared_app).open()
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Data"
    page.get_by_text("No dataset yet").first.wait_for()


def test_the_guide_is_there_until_it_is_skipped_and_stays_away_in_that_browser_alone(
    shared_app: App, visit: Visitor
) -> None:
    page = visit(shared_app).open()
    page.locator("#guide").wait_for()
    page.reload()
    page.locator("#guide-skip").click()
    page.locator("#guide").wait_for(state="hidden")
    page.wait_for_function("JSON.parse(localStorage.medlora).guide === 'off'")
    page.reload()
    page.locator("header", has_text="CPU, 2 cores").wait_for()
    page.wait_for_function("JSON.parse(localStorage.medlora).guide === 'off'")
    assert not page.locator("#guide").is_visible()
    visit(shared_app).open().locator("#guide").wait_for()


def test_a_setting_is_written_with_enter_or_by_leaving_it_and_the_template_takes_both_back(
    shared_app: App, visit: Visitor
) -> None:
    guest = visit(shared_app)
    page = guest.open()
    guest.show("Configure")
    page.locator("#config-text .cm-content", has_text="base_model_name").wait_for()
    workspace = Workspace.open(shared_app.home)
    before = configure.load_draft(workspace).text
    for key, value, leave in (("num_train_epochs", "7", "Enter"), ("max_steps", "11", "Tab")):
        field = page.locator(f"#set-training-{key.replace('_', '-')}").get_by_role("textbox")
        field.fill(value)
        field.press(leave)
        # Until the form is filled from the text: what is typed meanwhile is taken back.
        page.locator("#config-origins tr", has_text=re.compile(rf"{key}\s*{value}")).wait_for()
        assert f"{key}: {value}" in configure.load_draft(workspace).text
    page.locator("#config-reset").click()
    page.locator("#config-replace", has_text="Replace it with the template?").wait_for()
    page.locator("#config-replace-no").press("Enter")
    page.locator("#config-replace").wait_for(state="hidden")
    page.locator("#config-reset").click()
    page.locator("#config-replace-yes").click()
    wait_until(lambda: configure.load_draft(workspace).text == before, 30)
    assert guest.complaints == []


def test_a_foreign_host_or_origin_is_refused_and_nothing_else_of_the_computer_is_served(
    shared_app: App,
) -> None:
    assert ask(shared_app) == 200
    assert ask(shared_app, Host="evil.example") == 400
    assert ask(shared_app, Origin="http://evil.example") == 403
    assert ask(shared_app, "/gradio_api/file=/etc/passwd") == 403
    assert ask(shared_app, "/openapi.json") == 404
    assert ask(shared_app, "/docs") == 404
    assert ask(shared_app, "/monitoring/summary") in (403, 404)


def test_words_in_the_chat_can_neither_run_nor_fetch(shared_app: App, visit: Visitor) -> None:
    guest = visit(shared_app)
    page = guest.open()
    guest.show("Chat")
    hostile = (
        "He collapsed and is not breathing! <img src='https://exfil.example.invalid/p.png'> "
        "![x](https://exfil.example.invalid/q.png) <script>window.__xss = 1</script> **bold**"
    )
    page.get_by_role("textbox", name="Message").fill(hostile)
    page.locator("#chat-send").click()
    page.locator("#chat-log .ml-fixed-emergency").wait_for()
    said = page.locator("#chat-log [data-testid=user]").last
    assert "<img src=" in said.inner_text() and "![x](https://" in said.inner_text()
    assert said.locator("strong", has_text="bold").count() == 1
    assert said.locator("img, script, a").count() == 0
    assert page.evaluate("window.__xss") is None
    assert guest.foreign == []


def test_a_message_is_judged_with_its_reasons_in_the_safety_tab(shared_app: App, visit: Visitor) -> None:
    guest = visit(shared_app)
    page = guest.open()
    guest.show("Safety")
    page.get_by_role("textbox", name="Message").fill("he collapsed and is not breathing")
    page.locator("#safety-judge").click()
    page.locator("#safety-verdict .ml-hit").first.wait_for()
    assert "emergency" in page.locator("#safety-verdict .ml-verdict").inner_text()
    page.locator("#safety-verify").click()
    page.get_by_text("The audit is whole").wait_for()


@pytest.mark.skipif(os.name != "posix", reason="modes and signals are POSIX's")
def test_the_end_of_the_app_wipes_its_uploads_and_closes_the_port(app: App, visit: Visitor) -> None:
    visit(app).open()
    uploads = app.home / ".medlora" / "uploads"
    session = next(uploads.iterdir())
    (session / "left.jsonl").write_text("{}", encoding="utf-8")
    begin = time.monotonic()
    assert app.end() == 0
    assert time.monotonic() - begin < 10
    assert list(uploads.iterdir()) == []
    for folder in (app.home / ".medlora", app.home / "data", app.home / "experiments", uploads):
        assert folder.stat().st_mode & 0o777 == 0o700
