"""The Chat tab in a real browser: kept conversations, several speakers side by side.

The models are those of a small server on this machine, so that nothing here waits for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from medlora.services import configure
from medlora.workspace import Workspace
from tests.browser.conftest import App, Visit
from tests.wire_server import Exchange, WireServer, saying, serve

pytestmark = pytest.mark.browser
Visitor = Callable[[App], Visit]
DRAFT = """
model:
  base_model_name: starter
inference:
  base_url: {url}
  served_models: [plain, tuned]
"""
CANARY = "canarywort"
PATIENCE_MS = 90_000


def _name_yourself(exchange: Exchange) -> None:
    """Each model says who it is."""
    saying(f"This is the {exchange.body['model']} one.")(exchange)


@pytest.fixture(scope="module")
def wire() -> Iterator[WireServer]:
    with serve(_name_yourself) as server:
        yield server


def _open(app: App, visit: Visitor, wire: WireServer, speaker: str | None = None) -> Page:
    configure.save_draft(Workspace.open(app.home), DRAFT.format(url=wire.url))
    guest = visit(app)
    guest.page.set_default_timeout(PATIENCE_MS)
    page = guest.open()
    guest.show("Chat")
    expect(page.locator("#chat-speaker input")).not_to_have_value("", timeout=PATIENCE_MS)
    page.locator("#history-keeps").wait_for()
    if speaker:
        page.locator("#chat-speaker input").click()
        page.get_by_role("option", name=speaker).click()
    return page


def _says(place: Locator, words: str) -> None:
    expect(place).to_contain_text(words, timeout=PATIENCE_MS)


def _ask(page: Page, message: str) -> None:
    page.get_by_role("textbox", name="Message").fill(message)
    page.locator("#chat-send").click()


def _holding(home: Path, word: str) -> list[str]:
    return [p.name for p in home.rglob("*") if p.is_file() and word.encode() in p.read_bytes()]


def test_two_speakers_answer_in_columns_that_stack_on_a_narrow_screen(
    shared_app: App, visit: Visitor, wire: WireServer
) -> None:
    page = _open(shared_app, visit, wire, "plain at")
    assert "Local: nothing leaves this machine" in page.locator("header.ml-header").inner_text()
    page.locator("#chat-compare input").check()
    page.locator("#chat-others").get_by_text("tuned at").wait_for()
    _ask(page, "Who is it?")
    sides = page.locator("#chat-log .ml-side")
    _says(sides.nth(1).locator(".ml-trace"), "weights not verified")
    assert "This is the plain one." in sides.nth(0).inner_text()
    assert "This is the tuned one." in sides.nth(1).inner_text()

    def left(number: int) -> float:
        box = sides.nth(number).bounding_box()
        assert box is not None
        return box["x"]

    assert left(0) < left(1)
    page.set_viewport_size({"width": 390, "height": 844})
    assert left(0) == left(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_kept_conversation_outlives_a_reload_and_is_deleted_for_good(
    shared_app: App, visit: Visitor, wire: WireServer
) -> None:
    page = _open(shared_app, visit, wire, "tuned at")
    _ask(page, f"Is {CANARY} good for sleep?")
    page.locator("#chat-log .ml-trace").wait_for()
    assert _holding(shared_app.home, CANARY) == []
    page.locator("#history-keeps input").check()
    page.locator("#history-list label").wait_for()
    page.reload()
    page.get_by_role("tab", name="Chat", exact=True).click()
    page.locator("#history-list label", has_text=CANARY).click()
    _says(page.locator("#chat-log .ml-trace"), "weights not verified")
    assert "This is the tuned one." in page.locator("#chat-log").inner_text()
    _ask(page, "And now?")
    page.locator("#chat-log .ml-trace").nth(1).wait_for()
    assert [turn["role"] for turn in wire.asked[-1].body["messages"]][1:] == ["user", "assistant", "user"]
    with page.expect_download() as fetched:
        page.locator("#history-md").click()
    assert CANARY in fetched.value.path().read_text(encoding="utf-8")
    page.locator("#history-delete").click()
    page.locator("#history-sure-yes").click()
    expect(page.locator("#history-list label")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("#chat-log .ml-trace")).to_have_count(0, timeout=PATIENCE_MS)
    assert {name for name in _holding(shared_app.home, CANARY) if not name.endswith(".md")} == set()
