"""The audit's verbs: what is listed, what is removed, what is kept as proof."""

import json
import time
from datetime import datetime
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.safety import AuditLog
from medlora.services import audit
from medlora.services.audit import AuditFilter, DailyPurge, Retention
from medlora.workspace import Workspace

DAY_S = 86_400


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def log(ws: Workspace) -> AuditLog:
    log = AuditLog(ws.audit)
    for number, (level, action, adapter) in enumerate(
        (("answer", "answer", "clinic"), ("crisis", "block", None), ("answer", "answer", None))
    ):
        findings = [{"concept": "suicidal_thoughts"}] if level == "crisis" else []
        log.append(
            {
                "event": "question", "chat": f"c{number}", "level": level, "action": action,
                "adapter": adapter, "base_model": "starter", "findings": findings,
                "time": time.time() - (2 - number) * DAY_S,
            }
        )  # fmt: skip
    return log


def _chats(ws: Workspace, limit: int = 200, **words: str) -> list[str]:
    return [entry["chat"] for entry in audit.read_audit(ws, AuditFilter.read(**words), limit=limit).entries]


def test_entries_are_filtered_newest_first(ws: Workspace, log: AuditLog) -> None:
    assert _chats(ws, level="answer") == ["c2", "c0"]
    assert _chats(ws, action="block") == ["c1"]
    assert _chats(ws, adapter="clinic") == ["c0"]
    assert _chats(ws, adapter="starter") == ["c2", "c1", "c0"]
    assert _chats(ws, concept="suicidal_thoughts") == ["c1"] and _chats(ws, concept="y") == []
    assert _chats(ws, chat="c1", level="") == ["c1"]
    assert _chats(ws, limit=1) == ["c2"]
    page = audit.read_audit(ws, AuditFilter.read(level="answer"), limit=1)
    assert (page.fitting, page.total, page.levels) == (2, 3, {"answer": 2})


def test_days_are_whole_days_of_this_machine(ws: Workspace, log: AuditLog) -> None:
    day = datetime.fromtimestamp(time.time() - DAY_S).date().isoformat()
    assert _chats(ws, since=day) == ["c2", "c1"]
    assert _chats(ws, until=day) == ["c1", "c0"]
    assert _chats(ws, since=day, until=day) == ["c1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"level": "urgent"},
            "audit: level: there is none of that name (got urgent); "
            "use answer, caution, defer, emergency, crisis",
        ),
        (
            {"action": "stop"},
            "audit: action: there is none of that name (got stop); use answer, annotate, defer, block",
        ),
        ({"since": "yesterday"}, "audit: since: this is no day (got yesterday); write it as 2026-11-25"),
    ],
)
def test_a_filter_that_can_find_nothing_is_refused(words: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        AuditFilter.read(**words)
    assert str(refused.value) == message


def test_the_audit_knows_who_spoke(ws: Workspace, log: AuditLog) -> None:
    assert audit.list_speakers(ws) == ["clinic", "starter"]


def test_an_export_holds_the_fitting_entries_as_they_are(
    ws: Workspace, log: AuditLog, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    assert audit.export_audit(ws, path, AuditFilter.read(level="answer")) == 2
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == [entry for entry in log.entries() if entry["level"] == "answer"]


def test_a_purge_counts_first_and_leaves_a_whole_log(ws: Workspace, log: AuditLog) -> None:
    assert audit.count_older(ws, 1.5) == 1
    assert audit.purge_audit(ws, 1.5) == 1
    assert audit.verify_audit(ws).ok and audit.count_older(ws, 1.5) == 0
    seal = audit.verify_audit(ws).seal
    assert audit.verify_audit(ws, seal).ok
    with pytest.raises(UserError, match="days: the age must lie between 0 and 36500"):
        audit.purge_audit(ws, -1)


def test_retention_is_chosen_applied_at_once_and_every_day(ws: Workspace, log: AuditLog) -> None:
    assert audit.load_retention(ws) == Retention(None)
    assert audit.save_retention(ws, 1) == audit.load_retention(ws) == Retention(1)
    assert [entry["event"] for entry in log.entries()] == ["purge_marker", "question"]
    log.append({"event": "question", "time": time.time() - 3 * DAY_S})
    daily = DailyPurge(ws)
    daily.look()
    assert log.verify().ok
    audit.save_retention(ws, None)
    assert audit.apply_retention(ws) == 0
    with pytest.raises(UserError, match="days: entries can be kept for 1 to 36500 days"):
        audit.save_retention(ws, 0)


def test_a_daily_purge_leaves_a_damaged_log_alone(
    ws: Workspace, log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    audit.save_retention(ws, 90)
    path = ws.audit / "audit.jsonl"
    damaged = "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:])
    path.write_text(damaged, encoding="utf-8")
    DailyPurge(ws).look()
    assert path.read_text(encoding="utf-8") == damaged
    assert "the log does not verify" in caplog.text
    kept = audit.set_audit_aside(ws)
    assert (ws.audit / kept).read_text(encoding="utf-8") == damaged
    assert audit.verify_audit(ws).ok
