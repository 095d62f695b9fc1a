"""The whole way on the real page, with a tiny model, a closed tab and a killed app in between."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import App, Visit
from tests.tiny_models import make_tiny_model, write_tiny_dataset

pytestmark = [pytest.mark.browser, pytest.mark.torch]
Visitor = Callable[[App], Visit]
RUN_WAIT_MS = 120_000
EMERGENCY = "dad went grey and sweaty and is clutching his chest"


def write_config(model: Path, steps: int) -> str:
    return (
        f"model:\n  base_model_name: {model}\n"
        "lora:\n  r: 4\n  target_modules: all-linear\n"
        f"training:\n  max_steps: {steps}\n  learning_rate: 2.0e-3\n  logging_steps: 1\n"
        "  eval_steps: 20\n  save_steps: 20\n  warmup_steps: 2\n"
        "data:\n  max_seq_length: 256\n"
        "safety:\n  system_prompt: Be brief.\n"
        "inference:\n  max_new_tokens: 24\n"
    )


def upload(page: Page, path: Path) -> None:
    page.locator("#data-upload input[type=file]").wait_for(state="attached")
    page.locator("#data-upload input[type=file]").set_input_files(str(path))
    page.locator("#data-title", has_text=path.name).wait_for()


def add_data_with_a_mended_problem(page: Page, folder: Path) -> None:
    path = write_tiny_dataset(folder / "clinic.jsonl", rows=24)
    good = path.read_text(encoding="utf-8")
    path.write_text(good + json.dumps({"instruction": "And now?", "response": ""}) + "\n", encoding="utf-8")
    upload(page, path)
    page.locator("#data-problems").get_by_role("cell", name="25", exact=True).wait_for()
    path.write_text(good, encoding="utf-8")
    page.locator("#data-upload input[type=file]").set_input_files(str(path))
    page.locator("#data-problems", has_text="Problems").wait_for(state="hidden")
    page.locator("#data-add").click()
    page.locator("#data-next").click()


def configure(page: Page, text: str) -> None:
    editor = page.locator("#config-text .cm-content")
    editor.wait_for()
    editor.fill(text.replace("max_steps", "max_step"))
    page.locator("#config-problems", has_text="did you mean").wait_for()
    editor.fill(text)
    page.locator("#config-problems", has_text="This configuration is fine").wait_for()
    page.locator("#config-next").click()


def say(page: Page, message: str) -> str:
    told = page.locator("#chat-log .ml-trace")
    before = told.count()
    page.get_by_role("textbox", name="Message").fill(message)
    page.locator("#chat-send").click()
    told.nth(before).wait_for(timeout=RUN_WAIT_MS)
    return page.locator("#chat-log [data-testid=bot]").last.inner_text()


def test_from_a_file_with_a_mistake_to_a_tested_adapter_through_a_killed_app(
    app: App, visit: Visitor, tmp_path: Path
) -> None:
    model = make_tiny_model(tmp_path / "tiny", family="llama")
    first = visit(app)
    page = first.open()
    add_data_with_a_mended_problem(page, tmp_path)
    configure(page, write_config(model, 150))
    page.locator("#train-checks", has_text="24 of 24 rows").wait_for()
    page.locator("#train-start").click()
    page.locator("#train-status", has_text="safe to close this tab").wait_for()
    page.locator("#train-loss circle").first.wait_for(timeout=RUN_WAIT_MS)
    page.close()
    app.kill()
    (run,) = (app.home / "experiments").iterdir()
    events = (run / "events.jsonl").stat().st_size

    app.start()
    second = visit(app)
    page = second.open()
    second.show("Train")
    page.locator("#train-status", has_text="is ready").wait_for(timeout=RUN_WAIT_MS)
    assert (run / "events.jsonl").stat().st_size > events, "the run went on while the app was dead"
    assert [folder.name for folder in (app.home / "experiments").iterdir()] == [run.name]
    assert page.locator("#train-loss polyline").count() >= 1
    adapter = json.loads((run / "config.json").read_text(encoding="utf-8"))["results"]["adapter"]

    page.locator("#train-chat").click()
    page.get_by_role("textbox", name="Message").wait_for()
    assert adapter in say(page, "How can I sleep better at night?")
    told = say(page, EMERGENCY)
    assert "emergency number" in told and "no model was asked" in told
    assert first.foreign == [] and second.foreign == []
    assert second.complaints == []
    log = app.read_log()
    assert EMERGENCY not in log and "sleep better" not in log


def test_two_visitors_start_one_run_see_the_same_and_keep_it_when_they_stop_it(
    app: App, visit: Visitor, tmp_path: Path
) -> None:
    from medlora.services import configure as configurations
    from medlora.services import data
    from medlora.workspace import Workspace

    workspace = Workspace.open(app.home)
    data.add_dataset(workspace, write_tiny_dataset(tmp_path / "visits.jsonl", rows=24))
    text = write_config(make_tiny_model(tmp_path / "tiny", family="llama"), 100_000)
    configurations.save_draft(workspace, text, "starter")
    guests = [visit(app), visit(app)]
    pages = [guest.open() for guest in guests]
    for guest in guests:
        guest.show("Train")
        guest.page.locator("#train-checks", has_text="24 of 24 rows").wait_for()
    for page in pages:
        page.locator("#train-start").dblclick()
    for page in pages:
        page.locator("#train-status", has_text="safe to close this tab").wait_for()
        page.locator("#train-loss polyline").first.wait_for(timeout=RUN_WAIT_MS)
    assert len(list((app.home / "experiments").iterdir())) == 1

    pages[0].reload()
    pages[0].locator("#running", has_text="Training").wait_for()
    pages[0].locator("#train-loss polyline").first.wait_for()
    assert pages[0].locator("[role=tab][aria-selected=true]").inner_text() == "Train"
    pages[0].locator("#train-discard").click()
    pages[0].locator("#train-sure-no").click()
    pages[0].locator("#train-stop").click()
    pages[1].locator("#train-status", has_text="was stopped at step").wait_for(timeout=RUN_WAIT_MS)
    deadline = time.monotonic() + 10
    while not list((app.home / "adapters").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [folder.name for folder in (app.home / "adapters").iterdir()] == ["visits-tiny"]
