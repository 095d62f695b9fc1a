"""The whole journey with a keyboard and nothing else, led by the first-use guide from start to end."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from medlora.services import configure, feedback
from medlora.workspace import Workspace
from tests.browser.conftest import App, Visit
from tests.browser.test_browser_journey import RUN_WAIT_MS, write_config
from tests.tiny_models import make_tiny_model

pytestmark = [pytest.mark.browser, pytest.mark.torch]
Visitor = Callable[[App], Visit]
MOST_STOPS = 80
GUIDE = "#guide-steps li[aria-current=step] strong"
expect.set_options(timeout=60_000)
ACTIVE = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))?.innerText"


class Hands:
    """Somebody at the keyboard."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def reach(self, wanted: str, key: str = "Tab") -> None:
        for _ in range(MOST_STOPS):
            self.page.keyboard.press(key)
            if self.page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
                return
        raise AssertionError(f"{wanted} was not reached by {key}")

    def press(self, wanted: str, key: str = "Enter") -> None:
        self.reach(wanted)
        self.page.keyboard.press(key)

    def rest(self) -> None:
        """After an action has settled, the focus is somewhere."""
        self.page.wait_for_function("document.activeElement !== document.body")

    def choose(self, title: str) -> None:
        """Open the list that has the focus, go down to this entry, take it, and stay at the list."""
        self.page.keyboard.press("ArrowDown")
        self.page.get_by_role("option").first.wait_for()
        passed: list[str] = []
        while title not in (active := self.page.evaluate(ACTIVE) or "").lower():
            passed.append(active)
            assert len(passed) < 20, f"{title} is not in the list: {passed}"
            self.page.keyboard.press("ArrowDown")
            self.page.wait_for_function(f"(before) => ({ACTIVE} ?? '') !== before", arg=active)
        self.page.keyboard.press("Enter")
        self.rest()


def prepare_a_fast_template(app: App, folder: Path) -> str:
    text = write_config(make_tiny_model(folder / "tiny", family="llama"), 20)
    configure.save_template(Workspace.open(app.home), "tiny", text)
    return text


def take_the_sample(hands: Hands) -> None:
    page = hands.page
    expect(page.locator(GUIDE)).to_have_text("Take the sample dataset")
    hands.press("#guide-sample")
    page.locator("#data-title", has_text="Sample: patient education").wait_for()
    expect(page.locator(GUIDE)).to_have_text("Train a small adapter")
    hands.rest()
    hands.press("#data-next", "Space")


def configure_it(hands: Hands, text: str) -> None:
    page = hands.page
    editor = page.locator("#config-text .cm-content")
    editor.wait_for()
    hands.rest()
    hands.reach(".ml-skip", "Shift+Tab")
    page.keyboard.press("Enter")
    hands.reach("#config-template input")
    hands.choose("tiny")
    expect(editor).to_contain_text("max_steps: 20")
    hands.press("#config-text .cm-content", "Control+a")
    page.keyboard.insert_text(text + "  temperature: 0.5\n")  # as from the clipboard
    followed = page.locator("#config-origins tr", has_text="inference.temperature")
    expect(followed).to_contain_text("0.5")
    hands.reach("[id^=set-training-max-steps] input")
    page.keyboard.press("Control+a")
    page.keyboard.type("6")
    page.keyboard.press("Tab")
    expect(editor).to_contain_text("max_steps: 6")
    expect(editor).to_contain_text("temperature: 0.5")
    save_it(hands)
    hands.reach("#config-next", "Shift+Tab")
    page.keyboard.press("Enter")


def save_it(hands: Hands) -> None:
    page = hands.page
    hands.reach(".ml-group > button", "Shift+Tab")
    while "Save as a template" not in page.evaluate("document.activeElement.innerText"):
        hands.reach(".ml-group > button", "Shift+Tab")
    page.keyboard.press("Enter")
    hands.reach("#config-save-name textarea")
    page.keyboard.type("mine")
    hands.press("#config-save")
    page.locator("#config-saved", has_text="Saved as Mine").wait_for()


def train_it(hands: Hands) -> None:
    page = hands.page
    page.locator("#train-checks", has_text="rows").wait_for()
    hands.rest()
    hands.press("#train-start")
    page.locator("#train-status", has_text="is ready").wait_for(timeout=RUN_WAIT_MS)
    expect(page.locator(GUIDE)).to_have_text("Ask it something")
    hands.rest()
    hands.press("#train-chat")


def ask_it(hands: Hands) -> None:
    page = hands.page
    page.get_by_role("heading", name="Chat", exact=True, level=2).wait_for()
    hands.rest()
    hands.reach("#chat-speaker input")
    hands.choose("sample-tiny")
    hands.reach("#chat-message textarea")
    page.keyboard.type("How can I sleep better at night?")
    page.keyboard.press("Enter")
    page.locator("#chat-log .ml-trace").wait_for(timeout=RUN_WAIT_MS)
    page.locator("#guide-steps", has_text="That was the whole way").wait_for()
    hands.rest()


def rate_it(hands: Hands) -> None:
    page = hands.page
    hands.press("#rate-safety input", "Space")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#rate-safety").get_by_label("Unsafe", exact=True)).to_be_checked()
    hands.reach("#rate-rater textarea, #rate-rater input")
    page.keyboard.type("Ada")
    hands.press("#rate-save")
    page.locator("#rate-saved", has_text="Saved").wait_for()
    hands.rest()


@pytest.mark.timeout(400)
def test_from_the_guides_first_step_to_a_rated_answer_without_a_mouse(
    app: App, visit: Visitor, tmp_path: Path
) -> None:
    text = prepare_a_fast_template(app, tmp_path)
    guest = visit(app)
    page = guest.open()
    page.set_default_timeout(60_000)
    hands = Hands(page)
    take_the_sample(hands)
    configure_it(hands, text)
    train_it(hands)
    ask_it(hands)
    rate_it(hands)
    (rated,) = feedback.list_ratings(Workspace.open(app.home))
    assert (rated.rating.safety, rated.rating.rater) == ("unsafe", "Ada")

    hands.reach("#guide-skip", "Shift+Tab")
    expect(page.locator("#guide-skip")).to_have_text("Finish")
    page.keyboard.press("Enter")
    page.locator("#guide").wait_for(state="hidden")
    hands.rest()
