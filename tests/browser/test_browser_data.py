"""From a file to a dataset, on the real page."""

import json
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page

from tests.browser.conftest import App, Visit

pytestmark = pytest.mark.browser
Visitor = Callable[[App], Visit]
HOSTILE = (
    '<img src="https://exfil.example.invalid/p.png"><script>window.__xss = 1</script> '
    "![x](https://exfil.example.invalid/q.png) ${(() => { window.__xss = 1 })()} {{constructor}} "
    "<form action='https://exfil.example.invalid'><input></form>"
)


def write_rows(path: Path, rows: list[dict[str, str] | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def some_rows(amount: int) -> list[dict[str, str] | str]:
    return [
        {
            "instruction": f"Question {number}: how can I sleep better at night?",
            "response": f"Answer {number}: keep regular hours and avoid screens late in the evening.",
        }
        for number in range(amount)
    ]


def upload(page: Page, path: Path) -> None:
    page.locator("#data-upload input[type=file]").wait_for(state="attached")
    page.locator("#data-upload input[type=file]").set_input_files(str(path))
    page.locator("#data-title", has_text=path.name).wait_for()


def test_problems_are_shown_with_their_lines_and_good_rows_are_used_only_with_consent(
    shared_app: App, visit: Visitor, tmp_path: Path
) -> None:
    path = write_rows(
        tmp_path / "letters.jsonl",
        [*some_rows(10), '{"instruction": "torn', {"instruction": "What now?", "response": ""}],
    )
    page = visit(shared_app).open()
    upload(page, path)
    problems = page.locator("#data-problems")
    problems.get_by_role("cell", name="11", exact=True).wait_for()
    assert problems.get_by_role("cell", name="12", exact=True).count() == 1
    page.locator("#data-add").click()
    page.locator(".toast-body").wait_for()
    assert "cannot be used" in page.locator(".toast-body").inner_text()
    assert not (shared_app.home / "data" / "letters").exists()
    page.locator(".toast-close").click()
    page.locator("#data-skip input").check()
    page.locator("#data-add").click()
    page.locator("#data-next").wait_for()
    assert (shared_app.home / "data" / "letters" / "source.jsonl").is_file()
    session = next((shared_app.home / ".medlora" / "uploads").iterdir())
    assert list(session.rglob("letters.jsonl")) == [], "the upload itself is gone once it is stored"
    with page.expect_download() as download:
        page.locator("#data-rejects").click()
    kinds = [json.loads(line)["kind"] for line in Path(download.value.path()).read_text().splitlines()]
    assert kinds == ["invalid_json", "empty_answer"]


def test_text_of_a_dataset_can_neither_run_nor_fetch(shared_app: App, visit: Visitor, tmp_path: Path) -> None:
    rows = some_rows(6)
    rows[0] = {
        "instruction": f"{HOSTILE} What is this?",
        "response": f"{HOSTILE} It is an answer to be shown.",
    }
    path = write_rows(tmp_path / "<img src=x>.jsonl", [*rows, HOSTILE])
    guest = visit(shared_app)
    page = guest.open()
    page.locator("#data-upload input[type=file]").wait_for(state="attached")
    page.locator("#data-upload input[type=file]").set_input_files(str(path))
    page.locator("#data-preview", has_text="exfil.example.invalid").wait_for()
    page.locator("#data-add").click()
    page.locator(".toast-body").wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("window.__xss") is None
    assert guest.foreign == []
    assert page.locator("#data-preview img, #data-preview form, .toast-body img").count() == 0


def test_personal_data_waits_for_a_decision(shared_app: App, visit: Visitor, tmp_path: Path) -> None:
    rows = some_rows(6)
    rows[2] = {
        "instruction": "Mr. John Smith, MRN 12345678, phone 555-867-5309: when is his next visit?",
        "response": "Please call the clinic and ask, since the schedule is not part of this leaflet.",
    }
    page = visit(shared_app).open()
    upload(page, write_rows(tmp_path / "visits.jsonl", rows))
    assert "12345678" not in page.locator("#data-problems").inner_text()
    page.locator("#data-add").click()
    page.locator(".toast-body").wait_for()
    assert "may identify a person" in page.locator(".toast-body").inner_text()
    page.locator(".toast-close").click()
    page.get_by_label("Redact what was found").check()
    page.locator("#data-add").click()
    page.locator("#data-next").wait_for()
    stored = (shared_app.home / "data" / "visits" / "source.jsonl").read_text(encoding="utf-8")
    assert "12345678" not in stored and "555-867-5309" not in stored


def test_the_sample_is_one_press_away_and_survives_a_reload(shared_app: App, visit: Visitor) -> None:
    guest = visit(shared_app)
    page = guest.open()
    page.locator("#data-sample").click()
    page.locator("#data-figures", has_text="Usable").wait_for()
    assert page.locator("#data-preview mark").count() > 0
    page = guest.open()
    page.get_by_label("Sample: patient education").wait_for()


def test_a_dataset_is_removed_only_after_a_question(shared_app: App, visit: Visitor) -> None:
    page = visit(shared_app).open()
    page.locator("#data-sample").click()
    page.locator("#data-remove").click()
    page.locator("#data-sure-no").click()
    assert (shared_app.home / "data" / "sample").is_dir()
    page.locator("#data-remove").click()
    page.locator("#data-sure-yes").click()
    page.get_by_label("Sample: patient education").wait_for(state="hidden")
    assert not (shared_app.home / "data" / "sample").exists()


def test_a_workbook_becomes_a_dataset_by_the_columns_somebody_chose(
    shared_app: App, visit: Visitor, tmp_path: Path
) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("Cases", 0)
    sheet = book["Cases"]
    for row in (
        ["Autumn list"],
        ["id", "Patient question", "Our words", "Reply"],
        *(
            [n, f"Question {n}: how can I sleep better?", HOSTILE, f"Keep regular hours {n}."]
            for n in range(6)
        ),
        [7, "What helps against a cold?", "", ""],
    ):
        sheet.append(row)
    path = tmp_path / "sleep list.xlsx"
    book.save(path)
    guest = visit(shared_app)
    page = guest.open()
    page.locator("#data-upload input[type=file]").wait_for(state="attached")
    page.locator("#data-upload input[type=file]").set_input_files(str(path))
    page.locator("#data-columns-preview", has_text="Question 0").wait_for()
    assert page.get_by_label("Question", exact=True).input_value() == "B · Patient question"
    assert page.get_by_label("Answer", exact=True).input_value() == "D · Reply"
    assert page.locator("#data-header input").input_value() == "2"
    page.locator("#data-columns-use").click()
    page.locator("#data-problems", has_text="column D (Reply): the answer is empty").wait_for()
    assert page.locator("#data-problems").get_by_role("cell", name="9", exact=True).count() == 1
    page.locator("#data-skip input").check()
    page.locator("#data-add").click()
    page.locator("#data-next").wait_for()
    page.locator("#data-columns").wait_for(state="hidden")
    stored = (shared_app.home / "data" / "sleep-list" / "source.jsonl").read_text(encoding="utf-8")
    assert "Keep regular hours 5." in stored and "exfil" not in stored
    session = next((shared_app.home / ".medlora" / "uploads").iterdir())
    assert list(session.rglob("sleep list*")) == []
    assert guest.foreign == [] and page.evaluate("window.__xss") is None


def test_what_is_older_than_it_is_kept_goes_after_a_question(shared_app: App, visit: Visitor) -> None:
    page = visit(shared_app).open()
    page.locator("#data-sample").click()
    page.get_by_label("Sample: patient education").wait_for()
    meta = shared_app.home / "data" / "sample" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "created": "2020-01-31T12:00:00+00:00"}))
    page.locator("#data-keep button").first.click()
    page.get_by_label("Keep datasets, runs and chats").click()
    page.get_by_role("option", name="90 days after their last use").click()
    page.locator("#data-keep-due", has_text="Sample: patient education").wait_for()
    page.locator("#data-keep-delete").click()
    page.locator("#data-keep-sure-yes").click()
    page.get_by_label("Sample: patient education").wait_for(state="hidden")
    assert not meta.exists()
