"""What scripts rely on: every verb can print JSON, and what it prints can be read."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medlora.cli.reference import list_commands
from medlora.cli.root import cli
from medlora.services import users
from medlora.workspace import Workspace
from tests.told_runs import tell_run


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MEDLORA_HOME", str(tmp_path / "home"))
    return Workspace.open()


def read(*words: str, given: str = "") -> Any:
    result = CliRunner().invoke(cli, [*words, "--json"], input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout)


def test_every_verb_but_the_server_takes_json() -> None:
    without = [
        words
        for words, command in list_commands()
        if not any("--json" in item.opts for item in command.params)
    ]
    assert without == ["app"]


def test_judging_prints_the_same_with_the_flag_and_without(ws: Workspace) -> None:
    line = json.dumps({"id": 7, "text": "he is not breathing"})
    assert read("safety", "screen", "-", given=line)["level"] == "emergency"
    plain = json.loads(CliRunner().invoke(cli, ["safety", "explain", "he is not breathing"]).stdout)
    flagged = read("safety", "explain", "he is not breathing")
    assert {**flagged, "latency_ms": 0} == {**plain, "latency_ms": 0}
    assert "cover" in read("safety", "cover")["text"].lower()


def test_a_run_is_noted_exported_and_removed(ws: Workspace, tmp_path: Path) -> None:
    a_run = tell_run(ws, "first").run_id
    assert read("runs", "note", a_run[:8], "the second try") == {"run_id": a_run, "note": "the second try"}
    made = read("runs", "export", a_run, "--to", str(tmp_path / "record.zip"))
    assert zipfile.is_zipfile(made["file"])
    assert read("runs", "remove", a_run[:8]) == {"run_id": a_run, "removed": True}
    assert read("runs", "list") == []


def test_a_user_gets_a_new_password_and_goes(ws: Workspace) -> None:
    users.add_user(ws, "ada", "tester", "a long enough one")
    changed = read("users", "passwd", "ada", "--password-stdin", given="another long one\n")
    assert changed == {"name": "ada", "changed": True}
    assert read("users", "remove", "ada") == {"name": "ada", "removed": True, "kept_conversations": 0}
