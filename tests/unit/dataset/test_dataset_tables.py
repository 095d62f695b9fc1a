"""CSV files and workbooks become the same JSON lines, and what is wrong is told of the sheet's rows."""

from __future__ import annotations

import json
import zipfile
from datetime import date
from pathlib import Path

import openpyxl
import pytest

from medlora.dataset.tables import workbook
from medlora.dataset.tables.columns import Column, choose_columns, find_header, propose_roles
from medlora.dataset.tables.convert import TableChoice, convert_table, is_table, look_at_table
from medlora.dataset.tables.sheet import letter_of
from medlora.dataset.tables.workbook import write_cell
from medlora.errors import DataError

QUESTION_ANSWER = TableChoice(1, {"question": 0, "answer": 1})


def write_book(path: Path, rows: list[list[object]], title: str = "Cases") -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def rewrite(path: Path, member: str, old: str, new: str) -> None:
    """Change one part of a workbook, as a hostile or careless program would."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old in parts[member].decode()
    parts[member] = parts[member].decode().replace(old, new).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def convert(path: Path, choice: TableChoice = QUESTION_ANSWER) -> tuple[dict[int, dict[str, str]], list[str]]:
    """Line number → record, and the problems."""
    target = path.with_suffix(".out.jsonl")
    origin = convert_table(path, target, choice)
    lines = target.read_text(encoding="utf-8").split("\n")
    records = {number: json.loads(line) for number, line in enumerate(lines, start=1) if line}
    return records, [str(problem) for problem in origin.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_csv_file_needs_nothing_declared(tmp_path: Path, encoding: str, separator: str) -> None:
    rows = [("Frage", "Antwort"), ("Was hilft, und wie?", 'Ruhe; "Tee"\noder Wärme'), ("Wann?", "Bald")]
    text = "\r\n".join(separator.join('"' + c.replace('"', '""') + '"' for c in row) for row in rows)
    path = tmp_path / "cases.csv"
    path.write_bytes(text.encode(encoding))

    view = look_at_table(path)
    records, problems = convert(path)

    assert [(column.letter, column.name) for column in view.columns] == [("A", "Frage"), ("B", "Antwort")]
    assert view.proposed == {"question": 0, "answer": 1}
    assert records == {
        2: {"instruction": "Was hilft, und wie?", "response": 'Ruhe; "Tee"\noder Wärme'},
        3: {"instruction": "Wann?", "response": "Bald"},
    }
    assert problems == []
    assert any("Windows-1252" in notice for notice in view.notices) == (encoding == "cp1252")


def test_line_ends_of_an_old_mac_and_odd_separators_in_cells_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes("question;answer\rQ\u2028one, two;A\r".encode())
    assert convert(path)[0] == {2: {"instruction": "Q\u2028one, two", "response": "A"}}


def test_the_separator_line_of_excel_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("sep=;\nquestion;answer\nQ;A, or B\n", encoding="utf-8")
    assert look_at_table(path).header_row == 1
    assert convert(path)[0] == {2: {"instruction": "Q", "response": "A, or B"}}


def test_a_torn_csv_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text('question,answer\nQ1,A1\nQ2,one, two\n"Q3 "x" y",A3\nQ4\n\nQ5,A5\n', encoding="utf-8")
    records, problems = convert(path)
    assert problems == [
        "row 3: the row has 3 cells and the header 2; a text with the separator in it must stand in "
        "quotation marks",
        "row 4: a quotation mark stands inside a quoted cell; write it twice, or export the sheet again",
    ]
    nothing = {"instruction": None, "response": None}
    assert records[3] == records[4] == nothing
    assert records[5] == {"instruction": "Q4", "response": ""}
    assert records[7] == {"instruction": "Q5", "response": "A5"}


def test_a_quotation_that_never_ends_is_told_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text('question,answer\n"Q1\nmore",A1\nQ2,"never closed\nQ3,A3\n', encoding="utf-8")
    records, problems = convert(path)
    assert sorted(records) == [2, 3]
    assert problems == [
        "row 3: a cell that begins in this row (line 4 of the file) has no closing quotation mark, or more "
        "than 131,072 characters; nothing after it was read"
    ]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b"question,answer\n\x81\x8d,x\n")
    with pytest.raises(DataError) as caught:
        look_at_table(path)
    assert str(caught.value) == (
        "cases.csv: the text is neither UTF-8 nor UTF-16 nor Windows-1252; save it as “CSV UTF-8”"
    )


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b"question,answer\n" + b"x" * (5 << 20))
    with pytest.raises(DataError, match="line 2 has more than 4,194,304 characters"):
        convert(path)


def test_a_workbook_is_read_by_its_roles_and_other_columns_stay_out(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["Ward 3, autumn"],
        [],
        ["MRN", "Patient question", "Background", "Reply"],
        [4711, "How much?", "aspirin", 3.0],
        [4712, "=cmd|' /C calc'!A0", None, "Text"],
        [None, None, None, None],
        [4713, "When?", None, date(2026, 1, 31)],
    ]
    path = write_book(tmp_path / "cases.xlsx", rows)
    book = openpyxl.load_workbook(path)
    book["Cases"]["B5"].data_type = "s"  # typed as text, as a clinician would
    book.save(path)

    view = look_at_table(path)
    assert (view.kind, view.sheet, view.header_row) == ("xlsx", "Cases", 3)
    assert view.proposed == {"question": 1, "context": 2, "answer": 3}
    assert [row.number for row in view.rows] == [4, 5, 7]

    records, problems = convert(path, TableChoice(3, view.proposed))
    assert problems == []
    assert records == {
        4: {"instruction": "How much?", "response": "3", "input": "aspirin"},
        5: {"instruction": "=cmd|' /C calc'!A0", "response": "Text"},
        7: {"instruction": "When?", "response": "2026-01-31"},
    }


def test_formulas_count_as_their_results_or_are_told(tmp_path: Path) -> None:
    path = write_book(
        tmp_path / "c.xlsx", [["question", "answer"], ["Q1", "=1+1"], ["Q2", "=1/0"], ["Q3", None]]
    )
    sheet = "xl/worksheets/sheet1.xml"
    rewrite(path, sheet, '<c r="B3"><f>1/0</f><v /></c>', '<c r="B3" t="e"><f>1/0</f><v>#DIV/0!</v></c>')
    records, problems = convert(path)
    assert problems == [
        "row 3: column B (answer): a formula failed (#DIV/0!); mend it in the sheet",
        "row 2: column B (answer): the file holds a formula without its result; open it in Excel or "
        "LibreOffice, save it, and take that file",
    ]
    assert records[4] == {"instruction": "Q3", "response": ""}
    rewrite(path, sheet, "<f>1+1</f><v />", "<f>1+1</f><v>2</v>")
    path.with_suffix(".out.jsonl").unlink()
    assert convert(path)[0][2] == {"instruction": "Q1", "response": "2"}


def test_cells_merged_downwards_count_for_each_row(tmp_path: Path) -> None:
    path = write_book(
        tmp_path / "c.xlsx", [["question", "answer"], ["Q", "A1"], [None, "A2"], [None, "A3"], ["Q2", "B"]]
    )
    book = openpyxl.load_workbook(path)
    book["Cases"].merge_cells("A2:A4")
    book.save(path)
    assert [record["instruction"] for record in convert(path)[0].values()] == ["Q", "Q", "Q", "Q2"]
    assert look_at_table(path).notices == [
        "Cells that are merged over several rows count for each of these rows."
    ]


def test_a_sheet_is_chosen_and_an_empty_one_says_so(tmp_path: Path) -> None:
    path = write_book(tmp_path / "c.xlsx", [], title="Notes")
    book = openpyxl.load_workbook(path)
    for title in ("Cases", "Lists"):
        book.create_sheet(title).append(["question", "answer"])
        book[title].append([title, "yes"])
    book["Lists"].sheet_state = "hidden"
    book.save(path)
    with pytest.raises(DataError) as caught:
        look_at_table(path)
    assert str(caught.value) == "c.xlsx: the sheet 'Notes' is empty; choose another ('Cases')"
    assert look_at_table(path, "Cases").sheets == ("Notes", "Cases")
    with pytest.raises(DataError) as caught:
        look_at_table(path, "Nope")
    assert str(caught.value) == "c.xlsx: there is no sheet 'Nope' (there are: 'Notes', 'Cases')"
    choice = TableChoice(1, {"question": 0, "answer": 1}, "Cases")
    assert convert(path, choice)[0] == {2: {"instruction": "Cases", "response": "yes"}}


def test_a_false_size_or_row_number_neither_hides_rows_nor_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "_LAST_ROW", 1000)
    path = write_book(tmp_path / "c.xlsx", [["question", "answer"], ["Q1", "A1"], ["Q2", "A2"]])
    sheet = "xl/worksheets/sheet1.xml"
    rewrite(path, sheet, '<dimension ref="A1:B3" />', '<dimension ref="A1" />')
    rewrite(path, sheet, '<row r="3"', '<row r="99999999999"')
    assert convert(path)[0] == {2: {"instruction": "Q1", "response": "A1"}}


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = write_book(tmp_path / "c.xlsx", [["question", "answer"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/media/x", "w") as part:
        for _ in range(64):
            part.write(b"\0" * (1 << 20))
    with pytest.raises(DataError) as caught:
        look_at_table(path)
    assert str(caught.value) == (
        "c.xlsx: the workbook unpacks to 64 MB in 10 parts, which is too much; save the sheet as CSV"
    )


def test_entities_in_a_workbook_are_refused(tmp_path: Path) -> None:
    path = write_book(tmp_path / "c.xlsx", [["question", "answer"], ["Q", "A"]])
    bomb = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    rewrite(path, "xl/worksheets/sheet1.xml", "<worksheet", f"{bomb}<worksheet")
    with pytest.raises(DataError, match="the workbook is broken"):
        convert(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("macros", "c.xlsx: the workbook holds macros; save it as .xlsx, which has none"),
        ("binary", "c.xlsx: the file is a binary workbook (.xlsb); save the sheet as .xlsx or CSV"),
        ("letter", "c.xlsx: the file is no .xlsx workbook; save the sheet as .xlsx or CSV"),
    ],
)
def test_other_office_files_are_refused_by_what_they_hold(tmp_path: Path, change: str, said: str) -> None:
    path = write_book(tmp_path / "c.xlsx", [["question", "answer"], ["Q", "A"]])
    if change == "macros":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("xl/vbaProject.bin", b"x")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            other = "application/vnd.ms-excel.sheet.binary" if change == "binary" else "wordprocessingml"
            archive.writestr("[Content_Types].xml", f"<Types><Override ContentType='{other}'/></Types>")
    assert is_table(path)
    with pytest.raises(DataError) as caught:
        look_at_table(path)
    assert str(caught.value) == said


def test_old_and_encrypted_workbooks_are_told_apart_from_text(tmp_path: Path) -> None:
    path = tmp_path / "old.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    assert is_table(path)
    with pytest.raises(DataError, match=r"an old one \(\.xls\) or has a password; save it as \.xlsx"):
        look_at_table(path)


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"])
def test_a_broken_workbook_is_one_sentence(tmp_path: Path, part: str) -> None:
    path = write_book(tmp_path / "c.xlsx", [["question", "answer"], ["Q", "A"]])
    rewrite(path, part, "</", "<")
    with pytest.raises(DataError, match=r"^c\.xlsx: the workbook is broken \(\w+\); open it in Excel"):
        convert(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="the workbook is broken"):
        look_at_table(path)


def test_plain_json_lines_and_plain_archives_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jsonl", "{}")
    assert not is_table(tmp_path / "a.jsonl") and not is_table(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        (["prompt", "completion"], {"question": 0, "answer": 1}),
        (["instruction", "input", "output"], {"question": 0, "answer": 2, "context": 1}),
        (["input", "output"], {"question": 0, "answer": 1}),
        (["system_prompt", "User message", "Assistant reply"], {"system": 0, "question": 1, "answer": 2}),
        (["Réponse", "Question du patient"], {"question": 1, "answer": 0}),
        (["id", "text"], {}),
    ],
)
def test_roles_are_proposed_by_the_names_of_columns(names: list[str], proposed: dict[str, int]) -> None:
    assert propose_roles([Column(index, name) for index, name in enumerate(names)]) == proposed


def test_columns_are_named_by_header_or_by_letter(tmp_path: Path) -> None:
    columns = [Column(0, "Frage"), Column(1, "B"), Column(2, "x"), Column(3, "x")]
    assert choose_columns(columns, {"question": "frage", "answer": "b"}) == {"question": 0, "answer": 1}
    assert choose_columns(columns, {"question": "A", "answer": "D"}) == {"question": 0, "answer": 3}
    for given, said in (
        ({"question": "A"}, "columns: answer: no column has this role; choose one"),
        ({"question": "A", "answer": "A"}, "columns: a column has two roles; choose another for one of them"),
        (
            {"question": "A", "answer": "x"},
            "columns: answer: several columns are called 'x'; give a letter (C, D)",
        ),
        (
            {"question": "A", "answer": "Z"},
            "columns: answer: there is no column 'Z' (there are: A (Frage), B (B), C (x), D (x))",
        ),
        (
            {"role": "A"},
            "columns: there is no role 'role' (there are: question, answer, context, system)",
        ),
    ):
        with pytest.raises(DataError) as caught:
            choose_columns(columns, given)
        assert str(caught.value) == said


def test_a_header_that_may_be_a_patients_words_stays_out_of_messages() -> None:
    assert Column(2, "Reply").place == "column C (Reply)"
    assert Column(27, "Mr Smith has had pain").place == "column AB"
    assert find_header([]) == 0
    assert letter_of(0) == "A" and letter_of(26) == "AA" and letter_of(701) == "ZZ"
    assert write_cell(True) == "TRUE" and write_cell(0.25) == "0.25" and write_cell("a_x000D_\nb") == "a\nb"
