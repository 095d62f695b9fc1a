"""From an answer that is not good enough to an adapter that learnt the better one; and a blind comparison."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import App, Visit
from tests.browser.test_browser_journey import RUN_WAIT_MS, say, upload, write_config
from tests.tiny_models import make_tiny_model, write_tiny_dataset

pytestmark = [pytest.mark.browser, pytest.mark.torch]
Visitor = Callable[[App], Visit]
QUESTION = "How can I sleep better at night?"
BETTER = "Keep regular hours and leave the telephone in another room."


def train(page: Page, rows: int, adapter: str) -> None:
    """From the Data tab, with a dataset shown, to a run that has ended."""
    page.locator("#data-next").click()
    page.locator("#config-next").click()
    page.locator("#train-checks", has_text=f"{rows} of {rows} rows").wait_for()
    page.locator("#train-start").click()
    page.locator("#train-status", has_text=f"{adapter} is ready").wait_for(timeout=RUN_WAIT_MS)


def correct_last_answer(page: Page) -> None:
    page.locator("#rate-card").wait_for()
    page.locator("#chat-log").get_by_role("button", name="dislike").last.click()
    page.locator("#rate-correctness").get_by_label("Incorrect").check()
    page.get_by_label("Your name or initials").fill("Ada")
    page.get_by_label("The answer as it should have been").fill(BETTER)
    page.locator("#rate-save").click()
    page.locator("#rate-saved", has_text="Saved with your better answer, as Ada.").wait_for()


def test_upload_train_chat_correct_and_train_again(shared_app: App, visit: Visitor, tmp_path: Path) -> None:
    from medlora.services import configure as configurations
    from medlora.services.feedback import read_rater
    from medlora.workspace import Workspace

    model = make_tiny_model(tmp_path / "tiny", family="llama")
    configurations.save_draft(Workspace.open(shared_app.home), write_config(model, 8), "starter")
    guest = visit(shared_app)
    page = guest.open()
    upload(page, write_tiny_dataset(tmp_path / "clinic.jsonl", rows=12))
    page.locator("#data-add").click()
    train(page, 12, "clinic-tiny")
    page.locator("#train-chat").click()
    page.get_by_role("textbox", name="Message").wait_for()
    say(page, QUESTION)
    correct_last_answer(page)

    guest.show("Evaluate")
    guest.show("Ratings and votes")
    page.locator("#feedback-offer", has_text="1 answer can be learnt from.").wait_for()
    page.get_by_label("Make", exact=True).click()
    page.get_by_role("option", name="The rows of clinic").click()
    page.locator("#feedback-make").click()
    page.locator("#feedback-made", has_text="13 usable rows, 1 of them from ratings").wait_for()
    page.locator("#feedback-look").click()
    page.locator("#data-figures", has_text="13").wait_for()
    train(page, 13, "clinic-corrected-tiny")

    provenances = (shared_app.home / "adapters").glob("*/provenance.json")
    learned = [json.loads(path.read_text(encoding="utf-8"))["dataset"]["name"] for path in provenances]
    assert sorted(learned) == ["clinic", "clinic-corrected"]
    stored = (shared_app.home / "data" / "clinic-corrected" / "source.jsonl").read_text(encoding="utf-8")
    row = json.loads(stored.splitlines()[-1])
    assert row["messages"][-1]["content"] == BETTER and row["feedback"]["rating"].startswith("rating-")
    assert read_rater(Workspace.open(shared_app.home)) == "Ada", "the name is asked for once"
    assert guest.complaints == [] and guest.foreign == []
    assert BETTER not in shared_app.read_log()


HEAR_EVERYTHING = """() => {
  window.heard = '';
  const fetched = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await fetched(...asked);
    const copy = answer.clone();
    (async () => {
      const reader = copy.body.getReader(), decoder = new TextDecoder();
      for (let part = await reader.read(); !part.done; part = await reader.read())
        window.heard += decoder.decode(part.value, {stream: true});
    })().catch(() => {});
    return answer;
  };
  const Source = window.EventSource;
  window.EventSource = class extends Source {
    constructor(...given) {
      super(...given);
      this.addEventListener('message', (event) => { window.heard += event.data; });
    }
  };
}"""
"""Everything the server says to this page is kept, whichever way the page asks."""


def add_untrained_adapter(app: App, model: Path, name: str) -> str:
    """An adapter that changes nothing; the short hash of its weights."""
    from tests.speaking_models import attach_lora, publish_adapter

    folder = publish_adapter(
        attach_lora(model, r=4, target_modules=["q_proj"]), model, app.home / "adapters" / name
    )
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()[:12]


def test_two_answers_are_compared_blind_and_named_after_the_vote(
    shared_app: App, visit: Visitor, tmp_path: Path
) -> None:
    digest = add_untrained_adapter(
        shared_app, make_tiny_model(tmp_path / "tiny", family="llama"), "untrained"
    )
    guest = visit(shared_app)
    guest.page.add_init_script(f"({HEAR_EVERYTHING})()")
    page = guest.open()
    guest.show("Evaluate")
    guest.show("Compare blind")
    page.wait_for_function("document.querySelector('#compare-first input')?.value === 'untrained'")
    assert page.get_by_label("The other", exact=True).input_value().endswith("tiny (base model alone)")
    before = len(page.evaluate("window.heard"))
    page.get_by_label("Question").fill(QUESTION)
    page.get_by_label("Question").press("Enter")
    page.locator("#compare-ballot").wait_for(timeout=RUN_WAIT_MS)
    said = page.locator("#compare-sides .ml-said").all_inner_texts()
    assert len(said) == 2
    word = max(re.findall("[A-Za-z]+", said[0]), key=len)
    page.wait_for_function("([from, word]) => window.heard.slice(from).includes(word)", arg=[before, word])
    heard, shown = page.evaluate("window.heard")[before:], page.locator("#compare-sides").inner_html()
    drawn = [part for part in heard.split("data: ") if "ml-sides" in part]
    assert drawn and digest not in heard
    for secret in (digest, "untrained", "base model", "answer-"):
        assert secret not in "".join(drawn) and secret not in shown

    page.locator("#compare-rater").get_by_label("Your name or initials").fill("Ada")
    page.locator("#compare-sides").click()
    page.keyboard.press("2")
    page.locator("#compare-result", has_text="Saved: right is better").wait_for()
    names = page.locator(".ml-revealed").all_inner_texts()
    assert sorted("untrained" in name for name in names) == [False, True]
    assert "preferred" in names[1] and digest in "".join(names)
    assert "Not enough votes yet" in page.locator("#compare-result").inner_text()
    guest.show("Ratings and votes")
    page.locator("#feedback-standings", has_text="untrained / tiny (base model)").wait_for()
    assert guest.complaints == [] and guest.foreign == []


def test_a_script_runs_in_the_background_and_is_judged_by_keys(
    shared_app: App, visit: Visitor, tmp_path: Path
) -> None:
    add_untrained_adapter(shared_app, make_tiny_model(tmp_path / "tiny", family="llama"), "twin")
    guest = visit(shared_app)
    page = guest.open()
    guest.show("Evaluate")
    guest.show("Test scripts")
    page.locator("#script-speakers", has_text="twin").wait_for()
    page.get_by_label("Name", exact=True).fill("Clinic")
    page.get_by_label("Prompts, one a line").fill(f"{QUESTION}\nHow much water should I drink?")
    page.locator("#script-make").click()
    page.locator("#script-progress", has_text="safe to close this tab").wait_for()
    page.reload()
    guest.complaints.clear()  # requests that the reload cut off complain of it

    guest.show("Evaluate")
    guest.show("Test scripts")
    page.locator("#script-progress", has_text="All answered: 2 of 2 prompts").wait_for(timeout=RUN_WAIT_MS)
    sheet = page.locator("#judge-sheet")
    sheet.get_by_text("Prompt 1 of 2").wait_for()
    assert "twin" not in page.locator("#judge-card").inner_text()
    page.locator("#judge-rater").get_by_label("Your name or initials").fill("Ben")
    page.keyboard.press("Enter")
    sheet.click()
    page.keyboard.press("1")
    sheet.get_by_text("Prompt 2 of 2").wait_for()
    assert "twin" not in page.locator("#judge-card").inner_text(), "names and counts come at the end"
    page.keyboard.press("0")
    sheet.get_by_text("All is judged").wait_for()
    page.locator("#judge-results", has_text="twin / tiny (base model)").wait_for()
    with page.expect_download() as download:
        page.locator("#script-share").click()
    shared = Path(download.value.path()).read_text(encoding="utf-8")
    assert shared.startswith('{"medlora_script": 1, "name": "Clinic"') and shared.count('"answers"') == 2
    assert guest.complaints == [] and guest.foreign == []
