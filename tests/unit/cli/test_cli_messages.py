"""What the command line says to input that is wrong: the place, what is wrong, and what to do."""

import errno
import io
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora import __main__ as edge
from medlora.cli.output import confirm_at_terminal
from medlora.cli.root import cli
from medlora.errors import UserError
from medlora.workspace import Workspace

GOOD = json.dumps({"question": "What is an ECG?", "answer": "A recording of the heart."})


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the commands are run in."""
    monkeypatch.setenv("MEDLORA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*words: str) -> str:
    """The message of a command that ends with 2."""
    result = CliRunner().invoke(cli, list(words))
    if isinstance(result.exception, UserError):
        return str(result.exception)
    assert result.exit_code == 2, result.output
    return result.stderr.strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "data check gone.jsonl",
            "dataset: there is no such file and no such dataset (got 'gone.jsonl'); there are none yet",
        ),
        (
            "data import rows.jsonl",
            "rows.jsonl: this is JSON, which needs no columns; import it with `data add`",
        ),
        (
            "data import page.xlsx",
            "page.xlsx: this is no workbook and no CSV file inside; save it as .xlsx or .csv",
        ),
        (
            "data import header.csv",
            "header.csv: no row can be used: row 1: there are no rows below the columns' names",
        ),
        ("data remove gone", "dataset: there is none of this name (got 'gone'); there are none yet"),
        ("adapters show gone", "adapter: there is none of this name (got 'gone'); there are none yet"),
        ("adapters show con", "adapter: the name belongs to a device on Windows (got 'con'); choose another"),
        ("users remove gone", "user: there is none of this name (got 'gone'); there are none yet"),
        (
            "conversations show 7",
            "conversation: there is none of this id (got '7'); `conversations list` names them",
        ),
        ("script run 7", "script: there is none of this id (got '7'); `script list` names them"),
        ("safety screen gone.jsonl", "gone.jsonl: the file cannot be read (No such file or directory)"),
        ("safety screen latin.jsonl", "latin.jsonl: this is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_what_is_not_there_or_not_of_the_kind_is_named(desk: Path, words: str, message: str) -> None:
    (desk / "rows.jsonl").write_text(GOOD, encoding="utf-8")
    (desk / "page.xlsx").write_text("<html>", encoding="utf-8")
    (desk / "header.csv").write_text("question,answer\n", encoding="utf-8")
    (desk / "latin.jsonl").write_bytes('{"text": "é"}'.encode("latin-1"))
    assert refused(*words.split()) == message


def test_a_slip_in_the_name_of_a_configuration_is_answered_with_the_likeliest(desk: Path) -> None:
    (desk / "mine.yaml").write_text("lora:\n  r: 8\n", encoding="utf-8")
    wrong = "config: there is no such file and no such template"
    assert refused("config", "show", "startr").startswith(f"{wrong} (got 'startr'); did you mean starter? ")
    assert refused("config", "show", "mine").startswith(f"{wrong} (got 'mine'); did you mean mine.yaml? ")


def test_a_model_that_is_no_hub_name_is_not_promised_a_download(desk: Path) -> None:
    (desk / "mine.yaml").write_text("model:\n  base_model_name: /gone/model\n", encoding="utf-8")
    told = CliRunner().invoke(cli, ["config", "validate", "mine.yaml"]).stdout
    assert (
        "mine.yaml:2:3: model.base_model_name: there is no such model on this machine (got /gone/model); "
        "name the starter, a Hub id (owner/model) or a folder"
    ) in told


def test_lines_that_are_no_messages_do_not_stop_the_screening(desk: Path) -> None:
    (desk / "in.jsonl").write_text('{"id": 1, "text": "hello"}\nnope\n{"id": 2, "text": "hello"}\n')
    result = CliRunner().invoke(cli, ["safety", "screen", "in.jsonl"])
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [1, 2]
    assert result.stderr.startswith("in.jsonl:2: this is not JSON")
    assert result.exit_code == 2


def test_a_checked_file_is_told_in_plain_words(desk: Path) -> None:
    (desk / "rows.jsonl").write_text(GOOD, encoding="utf-8")
    lines = CliRunner().invoke(cli, ["data", "check", "rows.jsonl"]).stdout.splitlines()
    assert lines[0] == "rows: 1; sound: 1; used for training: 1; shape: question/answer"
    assert lines[1].startswith("tokens in a row (estimated): median ") or lines[1].startswith(
        "tokens in a row: "
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "disk: it is full; make room, or set MEDLORA_HOME to a folder on a larger disk",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "rows.jsonl"),
            "rows.jsonl: this may not be read or written by you (Permission denied); change its owner or its "
            "permissions, or set MEDLORA_HOME to a folder of your own",
        ),
    ],
)
def test_a_full_disk_or_a_forbidden_file_is_no_bug_of_medlora(
    error: OSError,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def open_workspace() -> Workspace:
        raise error

    monkeypatch.setattr(Workspace, "open", open_workspace)
    monkeypatch.setattr(sys, "argv", ["medlora", "runs", "list"])
    with pytest.raises(SystemExit) as ended:
        edge.main()
    assert (ended.value.code, capsys.readouterr().err) == (2, f"{message}\n")


@pytest.mark.parametrize(
    "words",
    [
        "adapters export demo --to {}",
        "runs export 2026 --to {}",
        "feedback export corrections --to {}",
        "adapters report demo --out {}",
        "safety audit --export {}",
    ],
)
def test_a_file_is_not_made_for_nothing_when_its_folder_is_missing(desk: Path, words: str) -> None:
    target = desk / "gone" / "made.html"
    said = refused(*words.format(target).split())
    assert said == (
        f"{words.split()[-2]}: there is no folder {desk / 'gone'} (got {target}); make it, or name another"
    )


def test_what_is_there_already_is_not_replaced_by_an_export(desk: Path) -> None:
    (desk / "mine.zip").write_bytes(b"")
    assert refused("adapters", "export", "mine") == (
        "--to: there is a file or folder of this name already (got mine.zip); name another"
    )


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_before_a_dataset_goes_and_a_script_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    with pytest.raises(UserError, match=r"^you answered no, so nothing was done$"):
        confirm_at_terminal("Delete it?", yes=False)
    confirm_at_terminal("Delete it?", yes=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    confirm_at_terminal("Delete it?", yes=False)
