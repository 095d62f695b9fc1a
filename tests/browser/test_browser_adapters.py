"""The library in a real browser: from a draft to a signature, a report, a zip out and in again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.adapter_files import write_adapter
from tests.browser.conftest import App, Visit
from tests.tiny_models import make_tiny_model
from tests.told_runs import tell_run

pytestmark = pytest.mark.browser
Visitor = Callable[[App], Visit]


def write_figures(folder: Path) -> None:
    """What an evaluation of these weights would have left beside them."""
    from medlora.services import adapters, evaluate
    from medlora.workspace import write_json

    share: dict[str, Any] = {"hits": 24, "total": 24, "value": 1.0, "wilson_95": [0.86, 1.0]}
    figures = {
        "adapter_sha256": adapters.weights_hash(folder), "created": "2026-11-25T10:00:00+00:00",
        "dataset": {"name": "clinic", "rows": 20, "of": 20, "source": "rows held back from training"},
        "base": {"loss": 2.5}, "adapter": {"loss": 1.5},
        "drift": {"prompts": 24} | {who: {"fired": share, "rules": {}} for who in ("base", "adapter")},
        "deferral": {"set": "shipped", "recall": share, "false_deferral": share},
    }  # fmt: skip
    write_json(folder / evaluate.RESULT, figures)


def take(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.locator(button).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_an_adapter_is_signed_for_reported_and_taken_elsewhere(
    shared_app: App, visit: Visitor, tmp_path: Path
) -> None:
    folder = write_adapter(make_tiny_model(tmp_path / "tiny"), shared_app.home / "adapters" / "kind")
    guest = visit(shared_app)
    guest.page.set_default_timeout(60_000)
    page = guest.open()
    guest.show("Adapters")
    page.locator("#release-state", has_text="not yet with these weights").wait_for()
    assert page.locator("#release-sign").is_hidden()

    write_figures(folder)
    guest.show("Chat")
    page.locator("#chat-banner", has_text="draft, ready to sign").wait_for()
    guest.show("Adapters")
    page.get_by_label("Who signs").fill("Ada Byron")
    page.get_by_label("Note (optional)").fill("For teaching")
    page.locator("#release-sign").click()
    page.locator("#adapter-cards", has_text="signed off by Ada Byron").wait_for()
    name, report = take(page, "#release-report")
    assert name == "kind-report.html" and b"Signed off by Ada Byron" in report and b"For teaching" in report
    assert str(shared_app.home).encode() not in report

    name, zipped = take(page, "#adapters-export")
    archive = tmp_path / name
    archive.write_bytes(zipped)
    page.locator("#import-file input[type=file]").set_input_files(archive)
    page.locator("#import-file", has_text="kind.zip").wait_for()
    page.locator("#import-start").click()
    page.locator("#import-told", has_text="kind-2 is in the library").wait_for()
    page.locator("#release-state", has_text="not yet with these weights").wait_for()
    page.locator("#adapter-cards [data-adapter=kind]").click()
    page.locator("#release-state", has_text="signed off by Ada Byron").wait_for()
    page.locator("#adapter-cards").get_by_role("button", name="kind-2").press("Enter")
    page.locator("#release-state", has_text="not yet with these weights").wait_for()
    page.get_by_label("Name", exact=True).fill("taken")
    page.locator("#adapters-rename").click()
    page.locator("#adapter-cards .ml-chosen", has_text="taken").wait_for()
    page.locator("#adapters-delete").click()
    page.locator("#adapters-sure", has_text="Delete taken for good?").wait_for()
    page.locator("#adapters-sure-yes").click()
    page.locator("#release-state", has_text="signed off by Ada Byron").wait_for()
    assert sorted(path.name for path in (shared_app.home / "adapters").iterdir()) == ["kind"]
    assert guest.complaints == [] and guest.foreign == []


def choose_run(page: Page, name: str) -> None:
    box = page.locator("#runs-chosen input")
    box.fill(name)
    page.locator("#runs-chosen [role=option]", has_text=name).click()
    page.locator("#runs-find textarea, #runs-find input").first.click()


def test_runs_are_compared_annotated_handed_on_and_deleted(shared_app: App, visit: Visitor) -> None:
    from medlora.services import run_records
    from medlora.workspace import Workspace

    workspace = Workspace.open(shared_app.home)
    tell_run(workspace, "calm")
    quick = tell_run(workspace, "quick", learning_rate=5e-4)
    guest = visit(shared_app)
    guest.page.set_default_timeout(60_000)
    page = guest.open()
    guest.show("Train")
    page.locator("#runs-list", has_text="2 runs").wait_for()

    choose_run(page, "calm")
    page.locator("#runs-note textarea").wait_for()
    choose_run(page, "quick")
    page.locator("#runs-result", has_text="training.learning_rate").wait_for()
    assert page.locator("#runs-result polyline").count() == 4, "loss and eval loss of both"
    assert page.locator("#runs-note textarea").is_hidden()

    page.reload()
    guest.show("Train")
    choose_run(page, "quick")
    page.locator("#runs-note textarea").fill("best so far")
    page.locator("#runs-keep-note").click()
    page.locator("#runs-list", has_text="best so far").wait_for()
    assert run_records.read_note(workspace, quick.run_id) == "best so far"
    assert take(page, "#runs-export")[0] == f"{quick.run_id}.zip"
    page.locator("#runs-delete").click()
    page.locator("#runs-sure", has_text="Delete the run of quick").wait_for()
    page.locator("#runs-sure-yes").click()
    page.locator("#runs-list", has_text="1 run").wait_for()
    assert not quick.root.exists()
    assert guest.complaints == []
