"""What nobody used for long is told, and goes only when somebody says so; adapters never."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.dataset import store
from medlora.errors import UserError
from medlora.runs.events import append_event
from medlora.runs.store import RunRequest, create_run
from medlora.services import conversations, data, retention
from medlora.services.chat_log import Conversation
from medlora.ui import keeping_card
from medlora.workspace import RunPaths, Workspace, make_private

DAY_S = 86_400


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def add_dataset(ws: Workspace, folder: Path, name: str, days_old: float) -> store.DatasetCard:
    path = folder / f"{name}.jsonl"
    rows = [{"question": f"What is {name} {n}?", "answer": f"It is {name}."} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    card = data.add_dataset(ws, path)
    then = datetime.now(UTC) - timedelta(days=days_old)
    return store.update_card(ws, replace(card, created=then.isoformat(timespec="seconds")))


def add_run(ws: Workspace, card: store.DatasetCard, days_old: float | None) -> RunPaths:
    """A run of that dataset; None: it still waits."""
    request = RunRequest(
        config={}, dataset={"name": card.name, "sha256": card.sha256}, adapter_name=f"{card.name}-a"
    )
    run = create_run(ws, request)
    if days_old is None:
        append_event(run, "queued", ticket=1)
        return run
    append_event(run, "ended", status="completed")
    then = time.time() - days_old * DAY_S
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    run.events.write_text("".join(json.dumps({**line, "time": then}) + "\n" for line in lines))
    os.utime(run.events, (then, then))
    return run


def test_what_is_used_stays_and_what_is_old_goes_only_on_request(ws: Workspace, tmp_path: Path) -> None:
    old, used, waiting = (add_dataset(ws, tmp_path, name, 200) for name in ("old", "used", "waiting"))
    add_dataset(ws, tmp_path, "new", 5)
    old_run, young_run = add_run(ws, old, 150), add_run(ws, used, 10)
    waiting_run = add_run(ws, waiting, None)
    adapter = make_private(ws.adapter("old-a"))
    rejects = make_private(ws.private / "rejects") / "notes-rejects-1.jsonl"
    rejects.write_text("{}")
    os.utime(rejects, (time.time() - 100 * DAY_S,) * 2)

    assert retention.find_due(ws) == [], "without a choice everything is kept"
    assert retention.save(ws, 90) == retention.Retention(90)
    assert [(due.kind, due.name, due.days) for due in retention.find_due(ws)] == [
        ("run", old_run.run_id, 150),
        ("dataset", "old", 150),
        ("file", "rejects/notes-rejects-1.jsonl", 100),
    ]
    assert (ws.dataset("old")).exists(), "looking deletes nothing"

    assert len(retention.purge(ws)) == 3
    assert sorted(card.name for card in data.list_datasets(ws)) == ["new", "used", "waiting"]
    assert not old_run.root.exists() and not rejects.exists()
    assert young_run.root.exists() and waiting_run.root.exists() and adapter.exists()
    assert retention.purge(ws) == []


def test_a_kept_conversation_goes_by_its_age_and_is_never_quoted(ws: Workspace) -> None:
    conversations.switch(ws, "ada", on=True)
    conversations.keep(ws, "ada", Conversation().add("user", "Is Mr Smith ill?"))
    assert retention.find_due(ws, 1) == []
    then = (datetime.now(UTC) - timedelta(days=40)).isoformat()
    with closing(sqlite3.connect(ws.history / "conversations.db")) as db, db:
        db.execute("UPDATE conversations SET changed = ?", (then,))
    (due,) = retention.find_due(ws, 30)
    assert (due.kind, due.title, due.days) == ("conversation", "conversation of ada", 40)
    retention.purge(ws, 30)
    assert conversations.list_kept(ws, None) == []


def test_an_age_that_is_none_is_refused(ws: Workspace) -> None:
    with pytest.raises(UserError) as caught:
        retention.save(ws, 0)
    assert str(caught.value) == "days: data can be kept for 1 to 36500 days (got 0); change it"
    with pytest.raises(UserError, match="the age must lie between 0 and 36500"):
        retention.purge(ws, -1)
    ws.data_retention.write_text("{broken")
    assert retention.load(ws).days is None, "an unreadable choice deletes nothing"


def test_the_command_line_chooses_shows_and_purges(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_HOME", str(ws.home))
    add_dataset(ws, tmp_path, "old", 40)

    def run(*words: str, typed: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["privacy", *words], input=typed)
        return done.exit_code, str(done.exception) if isinstance(done.exception, UserError) else done.output

    assert run("retention") == (0, "datasets, runs and conversations are kept until somebody removes them\n")
    assert run("due") == (0, "nothing is older than it is to be kept\n")
    assert run("retention", "soon")[1] == "days: must be a number of days or off (got 'soon'); for example 90"
    assert run("retention", "30") == (
        0,
        "datasets, runs and conversations are kept for 30 days after their last use\n",
    )
    assert [(item["kind"], item["name"], item["days"]) for item in json.loads(run("due", "--json")[1])] == [
        ("dataset", "old", 40)
    ]
    assert run("purge", typed="n\n")[0] == 1 and ws.dataset("old").exists()
    assert run("purge", "--yes")[1] == "deleted: 1\n"
    assert not ws.dataset("old").exists()


def test_the_page_says_what_is_due_before_it_deletes(ws: Workspace, tmp_path: Path) -> None:
    add_dataset(ws, tmp_path, "old", 40)
    told, days, delete = keeping_card.draw_keeping(ws)
    assert (days["value"], delete["visible"]) == (0, False)
    told, days, delete = keeping_card.keep(ws, 30)
    assert (days["value"], delete["visible"]) == (30, True)
    assert "1 dataset" in told and "old.jsonl" in told and ws.dataset("old").exists()
    keeping_card.delete_due(ws)
    assert not ws.dataset("old").exists()
