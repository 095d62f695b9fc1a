"""Runs compared, annotated, handed on, and made again to the last bit, with real workers' results."""

from __future__ import annotations

import json
import time
import zipfile

import pytest

from medlora.errors import NotFoundError, UserError
from medlora.runs.store import load_record
from medlora.services import run_records, train
from tests.golden.kit import Kit, end_of


def finish(kit: Kit, run_id: str) -> None:
    deadline = time.monotonic() + 120
    while not (seen := train.view(kit.ws, run_id)).state.ended:
        assert time.monotonic() < deadline, seen.log_tail
        train.supervise(kit.ws)
        time.sleep(0.1)
    assert seen.status == "completed", seen.log_tail


def test_runs_stand_side_by_side_and_can_be_made_again_to_the_last_bit(kit: Kit) -> None:
    few = {"max_steps": 4, "save_steps": 4, "logging_steps": 1}
    first = kit.make_run(kit.config(training=few), setup={})
    other = kit.make_run(kit.config(training={**few, "learning_rate": 1e-3}, lora={"r": 4}), setup={})
    assert kit.work(first) == 0 and kit.work(other) == 0, (end_of(first), end_of(other))

    found = run_records.compare(kit.ws, [first.run_id, other.run_id])
    assert set(found.differences) == {"lora.r", "training.learning_rate"}
    assert found.differences["lora.r"] == (8, 4)
    assert [len(run.curves["loss"]) for run in found.runs] == [4, 4]
    assert all(run.results["status"] == "completed" and run.results["train_loss"] for run in found.runs)

    again = run_records.reproduce(kit.ws, first.run_id)
    finish(kit, again)
    assert again != first.run_id
    assert json.loads((kit.ws.run(again).root / "setup.json").read_text()) == json.loads(
        (first.root / "setup.json").read_text()
    )
    assert run_records.equals_original(kit.ws, first.run_id, again) is True
    assert run_records.equals_original(kit.ws, first.run_id, other.run_id) is False


def test_a_run_whose_rows_changed_is_not_made_again(kit: Kit) -> None:
    run = kit.make_run(setup={})
    kit.data.write_text(kit.data.read_text().replace("a", "b"), encoding="utf-8")
    again = run_records.reproduce(kit.ws, run.run_id)
    deadline = time.monotonic() + 120
    while not (seen := train.view(kit.ws, again)).state.ended:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert seen.status == "failed" and "the file changed since the run was made" in (seen.state.reason or "")
    kit.data.unlink()
    with pytest.raises(UserError, match=r"^run: its dataset 'tiny' is not here any more; add the same file"):
        run_records.reproduce(kit.ws, run.run_id)


def test_a_note_and_a_record_hold_no_rows(kit: Kit) -> None:
    run = kit.make_run(setup={})
    run_records.write_note(kit.ws, run.run_id, "  Too fast; try half the rate.\n")
    assert run_records.read_note(kit.ws, run.run_id) == "Too fast; try half the rate."
    with zipfile.ZipFile(run_records.export_record(kit.ws, run.run_id)) as archive:
        names = {name.split("/", 1)[1] for name in archive.namelist()}
        text = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert names == {"config.json", "events.jsonl", "setup.json", "note.txt"}
    row = json.loads(kit.data.read_text().splitlines()[0])
    assert all(str(value) not in text for value in row.values())
    run_records.write_note(kit.ws, run.run_id, " ")
    assert run_records.read_note(kit.ws, run.run_id) == ""
    assert load_record(run)["run_id"] == run.run_id


def test_what_cannot_be_compared_is_said(kit: Kit) -> None:
    run = kit.make_run(setup={})
    with pytest.raises(UserError, match=r"^compare: name 2 to 6 different runs \(got 1\)$"):
        run_records.compare(kit.ws, [run.run_id, run.run_id])
    with pytest.raises(NotFoundError):
        run_records.compare(kit.ws, [run.run_id, "nowhere"])
    with pytest.raises(UserError, match=r"^note: at most 4000 characters \(got 5000\); shorten it$"):
        run_records.write_note(kit.ws, run.run_id, "a" * 5000)
