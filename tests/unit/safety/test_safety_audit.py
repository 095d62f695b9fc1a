"""The audit log finds an edit, a deletion, a reorder and a cut tail, and survives purges and crashes."""

import json
import os
import shutil
import subprocess
import sys
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


def test_a_log_replaced_by_an_older_copy_of_itself_is_found(log: AuditLog, tmp_path: Path) -> None:
    older = _lines(tmp_path)
    log.append({"event": "turn", "number": 6})
    _write(tmp_path, older)
    assert log.verify().problems == ("end: the log was cut (got 6 entries, the anchor names 7)",)


def test_a_log_replaced_by_one_of_another_installation_is_found(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "elsewhere" / "audit")
    for number in range(6):
        other.append({"event": "turn", "number": number})
    shutil.copy(tmp_path / "elsewhere" / "audit" / "audit.jsonl", tmp_path / "audit" / "audit.jsonl")
    report = log.verify()
    assert not report.ok
    assert report.problems[0] == "line 1: the entry was changed, or was not written by this installation"


def test_an_inserted_copy_of_a_genuine_entry_is_found(log: AuditLog, tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    _write(tmp_path, [*lines[:3], lines[1], *lines[3:]])
    assert log.verify().problems[0] == "line 4: the chain is broken (got entry 2 after 3)"


def test_a_line_cut_in_its_middle_is_found_and_the_next_entry_stays_readable(
    log: AuditLog, tmp_path: Path
) -> None:
    path = tmp_path / "audit" / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert log.verify().problems[0] == "line 6: the last line is torn; it was cut, or a write was broken off"
    log.append({"event": "turn", "number": 6})
    assert [entry["number"] for entry in log.entries()] == [0, 1, 2, 3, 4, 6]
    assert not log.verify().ok, "a cut is never mended"


def test_a_cut_hidden_by_removing_the_anchor_stays_visible_after_the_next_entry(
    log: AuditLog, tmp_path: Path
) -> None:
    _write(tmp_path, _lines(tmp_path)[:-2])
    (tmp_path / "audit-keys" / "head.json").unlink()
    log.append({"event": "turn", "number": 9})
    assert log.verify().problems == (
        "line 5: the anchor was missing or changed when this was written; "
        "entries before it may have been cut",
    )


def test_a_seal_noted_elsewhere_finds_what_the_keys_cannot(log: AuditLog, tmp_path: Path) -> None:
    folders = ("audit", "audit-keys")
    for name in folders:
        shutil.copytree(tmp_path / name, tmp_path / "yesterday" / name)
    log.append({"event": "turn", "number": 6})
    seal = log.verify().seal
    assert seal.startswith("7:") and log.verify(seal).ok
    for name in folders:
        shutil.rmtree(tmp_path / name)
        shutil.copytree(tmp_path / "yesterday" / name, tmp_path / name)
    assert log.verify().ok, "both folders put back to an earlier day look whole"
    assert log.verify(seal).problems == (
        "seal: entry 7 is not in the log any more; the log was cut or replaced",
    )
    log.append({"event": "turn", "number": 60})
    assert log.verify(seal).problems == (
        "seal: entry 7 is another one than when the seal was noted; the log was replaced",
    )
    assert log.verify("hello").problems[0].startswith("seal: this is no seal (got 'hello')")


def test_a_seal_survives_a_purge_of_what_came_before_it(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    now = time.time()
    log.append({"event": "turn", "time": now - 9 * DAY_S})
    early = log.verify().seal
    log.append({"event": "turn", "time": now - 8 * DAY_S})
    log.append({"event": "turn"})
    late = log.verify().seal
    assert log.purge(5) == 2
    assert log.verify(late).ok
    assert log.verify(early).problems == ("seal: entry 1 was purged since (everything through 2 was)",)


def test_a_forged_purge_marker_is_found(log: AuditLog, tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    third = json.loads(lines[2])
    marker = {
        "event": "purge_marker",
        "seq": 3,
        "time": 1.0,
        "removed_through": third["mac"],
        "mac": "0" * 64,
    }
    _write(tmp_path, [json.dumps(marker) + "\n", *lines[3:]])
    assert log.verify().problems[0] == (
        "line 1: the entry was changed, or was not written by this installation"
    )


def test_a_damaged_log_is_set_aside_whole_and_the_new_one_names_it(log: AuditLog, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        log.set_aside()
    assert str(refused.value) == "audit: the log is whole; there is nothing to set aside"
    damaged = "".join(_lines(tmp_path)[1:])
    _write(tmp_path, [damaged])
    kept = log.set_aside()
    assert kept.read_text(encoding="utf-8") == damaged
    assert log.verify().ok and log.verify().entries == 1
    (first,) = log.entries()
    assert (first["event"], first["file"], len(first["sha256"])) == ("set_aside", kept.name, 64)


def test_many_problems_are_counted_rather_than_listed(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    _write(tmp_path, ["{}\n"] * 50)
    report = log.verify()
    assert len(report.problems) == 21 and report.problems[-1] == "and 31 more problems like these"


def test_a_key_that_is_no_key_is_said_in_words(log: AuditLog, tmp_path: Path) -> None:
    (tmp_path / "audit-keys" / "hmac.key").write_text("lost", encoding="ascii")
    with pytest.raises(UserError, match=r"audit: hmac.key: the key cannot be read"):
        AuditLog(tmp_path / "audit")


def test_appends_from_several_processes_keep_one_chain(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from medlora.safety.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]))\n"
        "for number in range(15): log.append({'event': 'turn', 'writer': sys.argv[2], 'number': number})\n"
    )
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", script, str(tmp_path / "audit")]
    writers = [subprocess.Popen([*command, str(number)], cwd=root) for number in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    log = AuditLog(tmp_path / "audit")
    assert log.verify().ok and log.verify().entries == 45
    written = [(entry["writer"], entry["number"]) for entry in log.entries()]
    assert sorted(written) == sorted((str(w), n) for w in range(3) for n in range(15))
