"""The audit log finds an edit, a deletion, a reorder and a cut tail, and survives purges and crashes."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.safety.audit import AuditLog

DAY_S = 86_400


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    made = AuditLog(tmp_path / "audit")
    for number in range(6):
        made.append({"event": "turn", "number": number})
    return made


def _lines(folder: Path) -> list[str]:
    return (folder / "audit" / "audit.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)


def _write(folder: Path, lines: list[str]) -> None:
    (folder / "audit" / "audit.jsonl").write_text("".join(lines), encoding="utf-8")


def test_an_untouched_log_verifies(log: AuditLog) -> None:
    report = log.verify()
    assert report.ok and report.entries == 6 and report.problems == ()


def test_an_edited_entry_is_found(log: AuditLog, tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    lines[2] = lines[2].replace('"number":2', '"number":7')
    _write(tmp_path, lines)
    assert log.verify().problems == (
        "line 3: the entry was changed, or was not written by this installation",
    )


def test_a_deleted_entry_is_found(log: AuditLog, tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    del lines[2]
    _write(tmp_path, lines)
    assert log.verify().problems == ("line 3: the chain is broken (got entry 4 after 2)",)


def test_reordered_entries_are_found(log: AuditLog, tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    lines[1], lines[2] = lines[2], lines[1]
    _write(tmp_path, lines)
    assert not log.verify().ok


def test_a_cut_tail_is_found(log: AuditLog, tmp_path: Path) -> None:
    _write(tmp_path, _lines(tmp_path)[:-2])
    assert log.verify().problems == ("end: the log was cut (got 4 entries, the anchor names 6)",)


def test_a_missing_log_and_a_missing_anchor_are_found(log: AuditLog, tmp_path: Path) -> None:
    (tmp_path / "audit" / "audit.jsonl").unlink()
    assert not log.verify().ok
    (tmp_path / "audit-keys" / "head.json").unlink()
    assert log.verify().problems == (
        "head: the anchor is missing or was changed; the end of the log is not proven",
    )


def test_an_entry_forged_without_the_key_is_found(log: AuditLog, tmp_path: Path) -> None:
    forged = json.loads(_lines(tmp_path)[-1]) | {"seq": 7, "mac": "0" * 64}
    _write(tmp_path, [*_lines(tmp_path), json.dumps(forged) + "\n"])
    assert not log.verify().ok


def test_the_key_lies_outside_the_log_and_is_private(log: AuditLog, tmp_path: Path) -> None:
    assert [path.name for path in (tmp_path / "audit").iterdir()] == ["audit.jsonl"]
    if os.name == "posix":
        assert (tmp_path / "audit-keys").stat().st_mode & 0o077 == 0
        assert (tmp_path / "audit-keys" / "hmac.key").stat().st_mode & 0o077 == 0


def test_a_crash_between_line_and_anchor_loses_nothing(log: AuditLog, tmp_path: Path) -> None:
    head = (tmp_path / "audit-keys" / "head.json").read_text(encoding="utf-8")
    log.append({"event": "turn", "number": 6})
    (tmp_path / "audit-keys" / "head.json").write_text(head, encoding="utf-8")
    assert log.verify().ok
    log.append({"event": "turn", "number": 7})
    assert log.verify().entries == 8 and log.verify().ok


def test_a_torn_last_line_is_cut_off_by_the_next_append(log: AuditLog, tmp_path: Path) -> None:
    _write(tmp_path, [*_lines(tmp_path), '{"event":"tu'])
    assert not log.verify().ok
    log.append({"event": "turn", "number": 6})
    assert log.verify().ok and log.verify().entries == 7


def test_a_purge_leaves_a_log_that_still_verifies(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    now = time.time()
    for age in (9, 8, 3, 1):
        log.append({"event": "turn", "time": now - age * DAY_S})
    assert log.purge(5) == 2
    assert log.verify().ok and [entry["event"] for entry in log.entries()] == ["purge_marker", "turn", "turn"]
    assert log.purge(2) == 1
    log.append({"event": "turn"})
    assert log.verify().ok
    lines = _lines(tmp_path)
    _write(tmp_path, lines[1:])
    assert not log.verify().ok


def test_a_damaged_log_is_not_purged(log: AuditLog, tmp_path: Path) -> None:
    _write(tmp_path, _lines(tmp_path)[1:])
    with pytest.raises(UserError, match="the log does not verify"):
        log.purge(0)


def test_appends_from_many_threads_keep_one_chain(tmp_path: Path) -> None:
    logs = [AuditLog(tmp_path / "audit") for _ in range(4)]
    threads = [
        threading.Thread(target=lambda log=log: [log.append({"event": "turn"}) for _ in range(10)])
        for log in logs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = logs[0].verify()
    assert report.ok and report.entries == 40


def test_the_digest_of_a_text_needs_the_key(tmp_path: Path) -> None:
    first, second = AuditLog(tmp_path / "a"), AuditLog(tmp_path / "b")
    assert first.digest("yes") == AuditLog(tmp_path / "a").digest("yes")
    assert first.digest("yes") != second.digest("yes") and first.digest("yes") != first.digest("no")
