"""The page with something on it: what axe finds, and what a browser remembers of its visitor."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from medlora.space.demo import fill_home
from medlora.workspace import Workspace
from tests.browser.conftest import ROOT, App, Visit, run_app_in

pytestmark = pytest.mark.browser
Visitor = Callable[[App], Visit]
TABS = ["Data", "Configure", "Train", "Chat", "Evaluate", "Adapters", "Safety"]
SECTIONS = ["Measure", "Compare blind", "Test scripts", "Ratings and votes"]
DESK, TELEPHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
ASK_AXE = """() => axe.run(document, {resultTypes: ['violations']}).then((found) =>
  found.violations.filter((one) => ['serious', 'critical'].includes(one.impact)).flatMap((one) =>
    one.nodes.map((node) => one.id + ': ' + node.html.slice(0, 160))))"""
REACHABLE = """() =>
  [...document.querySelectorAll('.ml-scroll, .ml-changes, .ml-diff, .ml-text')].every((part) =>
    part.scrollHeight <= part.clientHeight + 1 && part.scrollWidth <= part.clientWidth + 1
    || part.tabIndex === 0)"""
IS_DARK = "(dark) => document.body.classList.contains('dark') === dark"


@pytest.fixture(scope="module")
def filled_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with a dataset, a run that has ended and its adapter; nothing was trained for it."""
    folder: Path = tmp_path_factory.mktemp("filled")
    fill_home(Workspace.open(folder / "home"), ROOT)
    yield from run_app_in(folder)


def fill(page: Page, place: str) -> None:
    """Something to look at, where a tab is empty until its visitor does something."""
    if place == "Data":
        page.locator("#data-stored input").first.check()
        page.locator("#data-preview .ml-text").first.wait_for()
    elif place == "Chat":
        page.get_by_role("textbox", name="Message").fill("He collapsed and is not breathing!")
        page.locator("#chat-send").click()
        page.locator("#rate-card").wait_for()
    elif place == "Safety":
        page.locator("#safety-message textarea").fill("he collapsed and is not breathing")
        page.locator("#safety-judge").click()
        page.locator("#safety-verdict .ml-hit").first.wait_for()
        page.locator("#safety-entries td").first.wait_for()


def lasting(page: Page) -> list[str]:
    """What axe still finds when the page has had its time: it mends new parts a moment after they came."""
    until = time.monotonic() + 60
    while (found := page.evaluate(ASK_AXE)) and time.monotonic() < until:
        page.wait_for_timeout(250)
    return list(found)


def look(page: Page, place: str) -> list[str]:
    """What axe finds and what is too wide, in both modes and at both widths."""
    found = []
    # Colours hardly depend on the width, nor shapes on the mode: the diagonal says what all four would.
    for size, mode in ((DESK, "light"), (TELEPHONE, "dark")):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=mode)  # type: ignore[arg-type]
        page.wait_for_function(IS_DARK, arg=mode == "dark")
        page.wait_for_function(REACHABLE)  # the page looks at its scrolling parts soon after a change
        found += [f"{place}, {mode}, {size['width']}: {one}" for one in lasting(page)]
        if page.evaluate("document.documentElement.scrollWidth") > size["width"]:
            found.append(f"{place} is wider than {size['width']}")
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    return found


@pytest.mark.timeout(600)
def test_axe_finds_nothing_serious_on_any_tab_and_nothing_is_wider_than_the_window(
    filled_app: App, visit: Visitor
) -> None:
    guest = visit(filled_app)
    page = guest.open()
    page.add_style_tag(content="* { transition: none !important; animation: none !important }")
    page.evaluate(AXE_SCRIPT)
    found = []
    for tab in TABS:
        guest.show(tab)
        page.get_by_role("heading", name=tab, exact=True, level=2).wait_for()
        found += look(page, f"{tab} at first") if tab in ("Chat", "Safety") else []
        fill(page, tab)
        for section in SECTIONS if tab == "Evaluate" else [""]:
            if section:
                guest.show(section)
            found += look(page, section or tab)
    assert not found, "\n".join(found)


def test_what_was_chosen_and_typed_stands_after_a_restart_and_no_message_outlives_its_window(
    filled_app: App, visit: Visitor
) -> None:
    guest = visit(filled_app)
    page = guest.open()
    page.locator("#data-stored input").first.check()
    page.locator("#data-preview .ml-text").first.wait_for()
    guest.show("Evaluate")
    guest.show("Compare blind")
    guest.show("Chat")
    prompt = page.locator("#chat-system textarea")
    page.wait_for_function("document.querySelector('#chat-system textarea').value.length > 0")
    own = prompt.input_value()
    page.get_by_role("textbox", name="Message").fill("half a thought")
    prompt.fill("Answer in one sentence.")
    page.wait_for_function("sessionStorage.getItem('medlora-message') === 'half a thought'")

    page.evaluate("window.before = true")
    filled_app.kill()
    filled_app.start()
    page.wait_for_function("!window.before", timeout=60_000)  # it reloads itself
    page.get_by_role("textbox", name="Message").wait_for()
    shown = page.locator("[role=tab][aria-selected=true]")
    assert shown.first.inner_text() == "Chat"
    expect(page.get_by_role("textbox", name="Message")).to_have_value("half a thought")
    expect(prompt).to_have_value("Answer in one sentence.")
    guest.show("Data")
    page.locator("#data-title", has_text="Sample: patient education").wait_for()
    guest.show("Evaluate")
    page.get_by_role("heading", name="Compare blind", level=3).wait_for()

    page.wait_for_function("JSON.parse(localStorage.medlora).tab === 'evaluate'")
    assert page.evaluate("Object.keys(localStorage)") == ["medlora"]
    assert "half a thought" not in page.evaluate("localStorage.medlora")
    other = page.context.new_page()
    other.goto(filled_app.url)
    other.get_by_role("heading", name="Compare blind", level=3).wait_for()
    other.get_by_role("tab", name="Chat", exact=True).click()
    expect(other.locator("#chat-system textarea")).to_have_value("Answer in one sentence.")
    expect(other.get_by_role("textbox", name="Message")).to_have_value("")
    other.locator("#chat-own").click()
    expect(other.locator("#chat-system textarea")).to_have_value(own)
