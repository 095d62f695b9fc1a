"""The safety verbs of the command line: what they print, and how they end."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medlora.cli.root import cli
from medlora.errors import UserError
from medlora.safety import AuditLog
from medlora.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MEDLORA_HOME", str(tmp_path / "home"))
    return Workspace.open()


def run(*words: str) -> Result:
    result = CliRunner().invoke(cli, ["safety", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _labelled(folder: Path) -> str:
    rows = [
        {"id": "a", "text": "he is not breathing", "level": "emergency", "concept": "breathing_difficulty"},
        {"id": "b", "text": "my zebra itches", "level": "answer"},
        {"id": "c", "text": "the zebra is odd today", "level": "crisis"},
    ]
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_score_is_printed_with_intervals_levels_concepts_and_misses(ws: Workspace, tmp_path: Path) -> None:
    lines = run("score", _labelled(tmp_path)).stdout.splitlines()
    assert lines[0].split() == ["recall", "50.0%", "(1", "of", "2;", "95", "%:", "9.5%", "to", "90.5%)"]
    assert "recall, breathing_difficulty      100.0% (1 of 1; 95 %: 20.7% to 100.0%)" in lines
    assert lines[-1] == "miss: c: wanted crisis, got answer: the zebra is odd today"
    figures = json.loads(run("score", _labelled(tmp_path), "--json").stdout)
    assert figures["recall"]["wilson_95"] == [0.0945, 0.9055]


def test_other_keywords_are_tried_before_they_are_written(ws: Workspace, tmp_path: Path) -> None:
    told = run("what-if", "--defer", "zebra", "--file", _labelled(tmp_path)).stdout
    assert "mine.jsonl: 2 of 3 messages would change" in told
    assert "the sample questions: 0 of 286 would change" in told
    document = json.loads(run("what-if", "--defer", "zebra", "--file", _labelled(tmp_path), "--json").stdout)
    assert [(row["id"], row["verdict"]) for row in document["changes"]] == [("b", "worse"), ("c", "better")]


def test_the_audit_is_listed_exported_purged_and_verified(ws: Workspace, tmp_path: Path) -> None:
    log = AuditLog(ws.audit)
    for level in ("answer", "crisis"):
        log.append({"event": "question", "level": level, "time": 1.0, "findings": [{"concept": "x_sign"}]})
    assert "x_sign" in run("audit", "--level", "crisis").stdout
    assert json.loads(run("audit", "--json").stdout)["total"] == 2
    target = tmp_path / "out.jsonl"
    assert run("audit", "--export", str(target)).stdout == f"2 entries written to {target}\n"
    seal = json.loads(run("verify", "--json").stdout)["seal"]
    assert run("verify", "--seal", seal).exit_code == 0
    assert run("purge", "--older-than", "1").stdout == (
        "2 entries are older than 1 days; add --yes to remove them\n"
    )
    assert run("purge", "--older-than", "1", "--yes").stdout == "2 entries removed\n"
    assert run("verify").stdout.startswith("The audit log is whole: 1 entries. Seal: 2:")


def test_a_changed_audit_ends_with_2_and_can_be_set_aside(ws: Workspace) -> None:
    log = AuditLog(ws.audit)
    for number in range(2):
        log.append({"event": "question", "number": number})
    path = ws.audit / "audit.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"number":0', '"number":5'), encoding="utf-8")
    result = run("verify")
    assert result.exit_code == 2
    assert result.stderr == "line 1: the entry was changed, or was not written by this installation\n"
    assert "The damaged log is kept as audit-" in run("set-aside").stdout
    assert run("verify").exit_code == 0


def test_retention_is_read_chosen_and_turned_off(ws: Workspace) -> None:
    assert run("retention").stdout == "kept for ever\n"
    assert run("retention", "90").stdout == "kept for 90 days\n"
    assert json.loads(run("retention", "--json").stdout) == {"days": 90}
    assert run("retention", "off").stdout == "kept for ever\n"
    with pytest.raises(UserError, match="days: this is no number of days"):
        run("retention", "soon")
