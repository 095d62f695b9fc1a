"""From a spreadsheet to a dataset: by the same checks, with the sheet's own rows and columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.config.schema import Config
from medlora.dataset import store
from medlora.errors import DataError, UserError
from medlora.services import data, data_preview, erasure, tables
from medlora.services.data import AddOptions
from medlora.services.tables import Reading
from medlora.ui import columns_card, data_report, dataset_adding
from medlora.workspace import Workspace

SHEET = (
    "id;Patient asks;We answer\n"
    "1;What helps against a headache?;Rest, water and patience.\n"
    "2;May I call 555-867-5309?;Yes, ask for the nurse.\n"
    "3;What about fever?;\n"
)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "Clinic list.csv"
    path.write_text(SHEET, encoding="utf-8")
    return path


def test_what_is_wrong_names_the_row_and_the_column_of_the_sheet(ws: Workspace, sheet: Path) -> None:
    choice = tables.choose(sheet, Reading({"question": "B", "answer": "We answer"}))
    converted = tables.convert_upload(sheet, choice, ws.uploads)

    report = data.check_upload(ws, converted)
    assert (report.rows, report.usable, report.unit) == (3, 2, "row")
    assert [str(problem) for problem in report.problems] == [
        "row 4: column C: the answer is empty; write one or remove the row"
    ]
    assert [(finding.line, finding.field, finding.kind) for finding in report.phi] == [
        (3, "column B", "phone")
    ]
    with pytest.raises(DataError, match=r"1 of 3 rows cannot be used \(row 4: column C: the answer is empty"):
        data.add_dataset(ws, converted)

    card = data.add_dataset(ws, converted, AddOptions(skip_bad_rows=True, phi="redact", keep_original=False))
    tables.drop_converted(converted)
    assert list(ws.uploads.iterdir()) == []
    assert card.table is not None and card.table["columns"] == {"question": "column B", "answer": "column C"}
    again = data.check_dataset(ws, card.name)
    assert [problem.line for problem in again.problems] == [4], "redaction keeps the rows' numbers"
    seen = data_preview.preview(ws, card.name, 2)
    assert (seen.line, seen.unit) == (3, "row")
    assert "[PHONE]" in "".join(text for text, _ in seen.segments)
    rejects = data.write_rejects(ws, card.name)
    assert json.loads(rejects.read_text())["reason"].startswith("column C: the answer is empty")


def test_columns_without_a_role_are_not_kept(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mrn,question,answer\nCANARY-4711,What?,That.\n", encoding="utf-8")
    converted = tables.convert_upload(path, tables.choose(path, Reading({})), ws.uploads)
    assert "CANARY" not in converted.read_text()


def test_a_failed_conversion_leaves_nothing_behind(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"question,answer\nQ,A\n" + b"x" * (5 << 20))
    with pytest.raises(DataError):
        tables.convert_upload(path, tables.choose(path, Reading({})), ws.uploads)
    assert not ws.uploads.exists() or list(ws.uploads.iterdir()) == []


def test_deleting_everything_finds_the_spreadsheet_among_the_uploads(ws: Workspace, sheet: Path) -> None:
    choice = tables.choose(sheet, Reading({"question": "B", "answer": "C"}))
    converted = tables.convert_upload(sheet, choice, ws.uploads)
    card = data.add_dataset(ws, converted, AddOptions(skip_bad_rows=True, phi="rights"))
    left = ws.uploads / "session" / "Clinic list.csv"
    left.parent.mkdir(parents=True)
    left.write_bytes(sheet.read_bytes())
    erasure.erase_dataset(ws, card.name)
    assert not left.exists() and not converted.exists()


def test_a_table_is_not_taken_for_json_lines(ws: Workspace, sheet: Path) -> None:
    said = "Clinic list.csv: a table's columns need roles first; import it: `data import FILE`"
    for read in (
        lambda: data.check_upload(ws, sheet),
        lambda: data.check_dataset(ws, str(sheet)),
        lambda: data.load_records(ws, str(sheet), Config()),
    ):
        with pytest.raises(DataError) as caught:
            read()
        assert str(caught.value) == said


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["data", "import", *words], catch_exceptions=True)
    if isinstance(done.exception, UserError):
        return 2, str(done.exception)
    return done.exit_code, done.output


def test_the_command_line_imports_a_table(
    ws: Workspace, sheet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_HOME", str(ws.home))
    code, said = run(str(sheet), "--preview", "--json")
    shown = json.loads(said)
    assert (
        code == 0 and shown["header_row"] == 1 and shown["notices"] == ["Cells are separated by semicolons."]
    )
    assert [(item["column"], item["name"]) for item in shown["columns"]] == [
        ("A", "id"), ("B", "Patient asks"), ("C", "We answer"),
    ]  # fmt: skip
    assert shown["rows"][0] == {
        "row": 2,
        "cells": {"A": "1", "B": "What helps against a headache?", "C": "Rest, water and patience."},
    }
    assert run(str(sheet)) == (
        2,
        "Clinic list.csv: the columns' names do not say which is the question and which the answer "
        "(there are: A (id), B, C); say so with --map question=… --map answer=…",
    )
    assert run(str(sheet), "--map", "question") == (
        2, "--map: must be ROLE=COLUMN (got 'question'); for example question=B"
    )  # fmt: skip
    mapped = ("--map", "question=B", "--map", "answer=we answer")
    code, said = run(str(sheet), *mapped)
    assert code == 2 and said.startswith("Clinic list.csv: 1 of 3 rows cannot be used (row 4: column C:")
    code, said = run(str(sheet), *mapped, "--skip-bad-rows", "--i-have-the-right", "--json")
    card = json.loads(said)
    assert (code, card["name"], card["title"], card["usable"]) == (0, "clinic-list", "Clinic list.csv", 2)
    assert store.source_path(ws, "clinic-list").is_file()
    assert list(ws.uploads.iterdir()) == []


def test_the_page_proposes_columns_and_checks_what_was_chosen(ws: Workspace, tmp_path: Path) -> None:
    upload = ws.uploads / "one" / "list.csv"
    upload.parent.mkdir(parents=True)
    upload.write_text(
        "n,question,answer\n1,What helps against a headache at night?,<b>Rest</b> and a glass of water\n"
        "2,When will it get better?,Soon; most are gone within a day or two\n",
        encoding="utf-8",
    )

    table, box, title, sheet, header, *roles, rows = columns_card.draw_columns(upload)
    assert (box["visible"], sheet["visible"], header) == (True, False, 1)
    assert [role["value"] for role in roles] == ["B", "C", "", ""]
    assert roles[0]["choices"][2] == ("B · question", "B")
    assert "Proposed by the columns" in title and "&lt;b&gt;Rest&lt;/b&gt; and" in rows
    assert [role["value"] for role in columns_card.draw_columns(upload, None, 0)[5:9]] == ["", "", "", ""]

    with pytest.raises(UserError, match="columns: answer: no column has this role; choose one"):
        columns_card.read_rows(table, None, 1, ("B", "", "", ""), lambda share: None)
    path, said = columns_card.read_rows(table, None, 1, ("B", "C", "", ""), lambda share: None)
    drawn = data_report.check_new(ws, path, lambda share: None, Path(table), said)
    shown, name = drawn[0], drawn[6]
    assert (shown.title, shown.usable, name["value"]) == ("list.csv", 2, "list")

    made = dataset_adding.store_upload(ws, shown, False, None, "list")
    assert made.name == "list" and not upload.exists() and not path.exists()
    heading = data_report.check_stored(ws, "list", lambda share: None)[2]
    assert "question from column B (question), answer from column C (answer)</p>" in heading
    assert not upload.parent.exists(), "neither the sheet nor the converted rows stay behind"
