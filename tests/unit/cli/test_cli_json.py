"""What scripts rely on: every verb can print JSON, and what it prints can be read."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medlora.cli.reference import list_commands
from medlora.cli.root import cli
from medlora.cli.runs import finish
from medlora.errors import RunFailedError
from medlora.runs.events import append_event
from medlora.runs.store import RunRequest, create_run
from medlora.services import configure, train, users
from medlora.workspace import Workspace
from tests.told_runs import tell_run

HARDWARE = Path(__file__).parents[1] / "ui" / "hardware_cpu.json"


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


PROMISED = {
    ("data", "check", "{rows}"): "rows valid usable shape sha256 problems duplicates phi tokens unit",
    ("data", "import", "{table}", "--preview"): "kind sheets sheet header_row columns rows notices",
    ("config", "validate", "starter"): "ok problems",
    ("config", "show", "starter", "--explain"): "config origin",
    ("config", "estimate", "starter"): "total_gib parts device fits",
    ("runs", "show", "{run}"): "run_id status step total_steps loss eval_loss eta_s adapter error",
    ("chat", "--message", "he is not breathing"): "text level action findings adapter tokens "
    "seconds_to_first_token tokens_per_second",
    ("safety", "screen", "{messages}"): "id level action findings",
}


@pytest.mark.parametrize("words", PROMISED, ids=" ".join)
def test_the_fields_that_scripts_rely_on_are_there(
    ws: Workspace, tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_HARDWARE", str(HARDWARE))
    # The formula's forecast at once, rather than a process that traces the model.
    monkeypatch.setattr(
        configure, "estimate", lambda ws, config, wait, now=configure.estimate: now(ws, config)
    )
    files = {"rows": tmp_path / "rows.jsonl", "table": tmp_path / "t.csv", "messages": tmp_path / "m.jsonl"}
    files["rows"].write_text('{"question": "What is an ECG?", "answer": "A recording."}\n')
    files["table"].write_text("question,answer\nWhat is an ECG?,A recording.\n")
    files["messages"].write_text('{"id": "a", "text": "he is not breathing"}\n')
    document = read(*(word.format(run=tell_run(ws, "first").run_id, **files) for word in words))
    assert set(PROMISED[words].split()) <= set(document)


def test_the_last_line_of_a_training_is_its_result_and_a_failed_one_says_why(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tell_run(ws, "first")
    finish(train.view(ws, run.run_id), one_line=True)
    result = json.loads(capsys.readouterr().out)
    assert list(result) == [
        "run_id", "status", "adapter", "steps", "train_loss", "eval_loss", "tokens_per_second", "seconds",
        "peak_memory_gib",
    ]  # fmt: skip
    broken = create_run(ws, RunRequest(config={}, dataset={}, adapter_name="second"))
    append_event(broken, "ended", status="failed", reason="The disk is full", hint="Free some space")
    with pytest.raises(RunFailedError) as failed:
        finish(train.view(ws, broken.run_id), one_line=True)
    assert str(failed.value) == f"run {broken.run_id}: The disk is full; Free some space"
    assert json.loads(capsys.readouterr().out)["status"] == "failed"
