"""The terminal chat: the same safety settings as elsewhere, and a warning before a name is sent."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.safety.audit import AuditLog
from medlora.services import conversations, users
from medlora.services.chat_log import Conversation
from medlora.workspace import Workspace, computer_user


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDLORA_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_configurations_country_counts_and_no_model_is_needed(home: Path) -> None:
    config = home / "here.yaml"
    config.write_text("base_template: starter\nsafety: {country: GB}\n", encoding="utf-8")
    words = ["chat", "--config", str(config), "--message", "he is not breathing"]
    told = CliRunner().invoke(cli, words).stdout
    assert told.startswith("Call 999 now.") and "[emergency, block; no model was asked]" in told


def test_the_audit_names_the_computers_user(home: Path) -> None:
    CliRunner().invoke(cli, ["chat", "--message", "I have crushing chest pain", "--json"])
    entries = list(AuditLog(Workspace.open().audit).entries())
    assert [entry["user"] for entry in entries] == [computer_user()] * len(entries) and entries


def test_a_message_that_may_name_a_person_is_warned_of_without_quoting_it() -> None:
    message = "My patient Mr. John Smith, MRN 12345678, is not breathing"
    result = CliRunner().invoke(cli, ["chat", "--message", message])
    assert result.stderr.startswith("This may identify a person: ") and "Smith" not in result.stderr


EMERGENCY = "he is not breathing"


def _run(*words: str) -> str:
    result = CliRunner().invoke(cli, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_conversation_is_kept_on_request_gone_on_with_exported_and_deleted(home: Path) -> None:
    assert "conversation" not in json.loads(_run("chat", "--message", EMERGENCY, "--json"))
    number = json.loads(_run("chat", "--message", EMERGENCY, "--keep", "--json"))["conversation"]
    _run("chat", "--conversation", number, "--message", "He is blue now", "--json")
    (kept,) = json.loads(_run("conversations", "list", "--json"))
    assert (kept["id"], kept["name"], kept["size"], kept["user"]) == (number, EMERGENCY, 4, "")
    assert json.loads(_run("conversations", "rename", number, "Ward round", "--json"))["name"] == "Ward round"
    assert "# Ward round" in _run("conversations", "show", number)
    out = home / "out.jsonl"
    told = _run("conversations", "export", "--format", "jsonl", "--out", str(out), "--json")
    assert json.loads(told)["conversations"] == 1
    assert [turn["role"] for turn in json.loads(out.read_text("utf-8"))["messages"]] == [
        "user",
        "assistant",
    ] * 2
    assert "Ward round" in _run("conversations", "list", "--search", "BLUE now")
    assert json.loads(_run("conversations", "delete", number, "--yes", "--json")) == {"deleted": 1}
    assert json.loads(_run("conversations", "list", "--json")) == []


def test_a_terminal_conversation_is_kept_once_that_is_switched_on() -> None:
    CliRunner().invoke(cli, ["chat"], input=f"{EMERGENCY}\n\n")
    assert json.loads(_run("conversations", "list", "--json")) == []
    _run("conversations", "keep", "on")
    result = CliRunner().invoke(cli, ["chat"], input=f"{EMERGENCY}\nand blue\n\n")
    (kept,) = json.loads(_run("conversations", "list", "--json"))
    assert result.stderr.endswith(f"kept as {kept['id']}\n") and kept["size"] == 4


def test_nothing_is_deleted_by_a_slip() -> None:
    refused = CliRunner().invoke(cli, ["conversations", "delete", "--all"], input="n\n")
    assert "Delete for good?" in refused.output
    assert str(refused.exception) == "you answered no, so nothing was done"
    unasked = CliRunner().invoke(cli, ["conversations", "delete", "--all"])
    assert str(unasked.exception) == "there is nobody to ask here, so nothing was done; add --yes to go on"
    result = CliRunner().invoke(cli, ["conversations", "delete"])
    assert result.exit_code != 0 and str(result.exception) == "conversations delete: name some, or give --all"


def test_several_are_asked_side_by_side() -> None:
    told = json.loads(_run("chat", "--message", EMERGENCY, "--beside", "base:starter", "--json"))
    assert [answer["level"] for answer in told["answers"]] == ["emergency", "emergency"]
    assert _run("chat", "--message", EMERGENCY, "--beside", "base:x").count("no model was asked") == 2
    result = CliRunner().invoke(cli, ["chat", "--beside", "base:x"])
    assert str(result.exception) == "--beside: it needs --message"


def test_removing_a_user_tells_of_the_conversations_that_stay(home: Path) -> None:
    ws = Workspace.open(home / "home")
    users.add_user(ws, "tom", "tester", None)
    conversations.switch(ws, "tom", on=True)
    conversations.keep(ws, "tom", Conversation().add("user", "Hello"))
    told = _run("users", "remove", "tom")
    assert "conversations delete --all --user tom" in told
    assert json.loads(_run("conversations", "delete", "--all", "--user", "tom", "--yes", "--json")) == {
        "deleted": 1
    }
