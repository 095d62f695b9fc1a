"""The library in order: search, names that take everything along, notes, nothing deleted in use."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.feedback.records import Answer, Rating
from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.runs.process import ProcessMark
from medlora.runs.store import RunRequest, create_run
from medlora.services import adapter_library, adapters, feedback
from medlora.workspace import RunPaths, Workspace, make_private, write_json
from tests.adapter_files import change_provenance, write_adapter
from tests.tiny_models import make_tiny_model


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = Workspace.open(tmp_path / "home")
    write_adapter(make_tiny_model(tmp_path / "tiny"), ws.adapter("clinic"))
    return ws


def rate(ws: Workspace, adapter: str) -> None:
    answer = Answer(
        turns=({"role": "user", "content": "What is asthma?"},), text="Common.", base_model="acme/tiny",
        adapter=adapter, weights=adapters.weights_hash(ws.adapter(adapter))[:12],
    )  # fmt: skip
    feedback.rate_answer(ws, answer, Rating(answer_id=answer.answer_id, rater="Ann", safety="safe"))


def make_run(ws: Workspace, adapter: str) -> RunPaths:
    run = create_run(ws, RunRequest(config={}, dataset={"name": "clinic"}, adapter_name=adapter))
    append_event(run, "published", adapter=adapter, step=9)
    append_event(run, "ended", status="completed", steps=9)
    change_provenance(ws.adapter(adapter), run_id=run.run_id)
    return run


def test_every_word_of_a_search_must_be_found(ws: Workspace, tmp_path: Path) -> None:
    write_adapter(tmp_path / "tiny", ws.adapter("other"))
    adapter_library.set_notes(ws, "other", "The asthma trial of May")
    cards = adapters.list_adapters(ws)
    assert [card.name for card in adapter_library.search(cards, "ASTHMA tiny")] == ["other"]
    assert [card.name for card in adapter_library.search(cards, "asthma june")] == []
    assert len(adapter_library.search(cards, "  ")) == 2


def test_a_new_name_takes_ratings_run_and_figures_along(ws: Workspace) -> None:
    run = make_run(ws, "clinic")
    rate(ws, "clinic")
    folder = make_private(ws.evaluations / "20261125-101500-clinic-ab12")
    write_json(folder / "request.json", {"adapter_name": "clinic", "adapter": str(ws.adapter("clinic"))})
    append_event(RunPaths(folder), "ended", status="completed")
    card = adapter_library.rename(ws, "clinic", "asthma-may")
    assert (card.name, card.provenance["adapter"]) == ("asthma-may", "asthma-may")
    assert not ws.adapter("clinic").exists()
    assert observe(run).adapter == "asthma-may" and observe(run).status == "completed"
    assert feedback.summarise_feedback(ws, "asthma-may").ratings == 1
    assert json.loads((folder / "request.json").read_text("utf-8"))["adapter_name"] == "asthma-may"


def test_a_name_that_is_taken_or_unusable_is_refused(ws: Workspace, tmp_path: Path) -> None:
    write_adapter(tmp_path / "tiny", ws.adapter("other"))
    with pytest.raises(
        UserError, match=r"^adapter other: there is one of this name already; choose another name$"
    ):
        adapter_library.rename(ws, "clinic", "other")
    with pytest.raises(UserError, match=r"^adapter: the name is not usable \(got '../x'\)"):
        adapter_library.rename(ws, "clinic", "../x")
    assert adapter_library.rename(ws, "clinic", "clinic").name == "clinic"


def test_what_is_in_use_is_neither_deleted_nor_renamed(ws: Workspace) -> None:
    with adapters.hold_adapter(ws, "clinic"):
        for act in (
            lambda: adapter_library.delete(ws, "clinic"),
            lambda: adapter_library.rename(ws, "clinic", "b"),
        ):
            with pytest.raises(UserError, match="a chat is answering with it; stop the answer first"):
                act()
    folder = make_private(ws.evaluations / "20261125-101500-clinic-ab12")
    write_json(folder / "request.json", {"adapter_name": "clinic"})
    own = ProcessMark.own()
    append_event(RunPaths(folder), "started", pid=os.getpid(), pid_start=own.start)
    with pytest.raises(UserError, match="an evaluation is measuring it; wait for it or stop it first"):
        adapter_library.delete(ws, "clinic")
    append_event(RunPaths(folder), "ended", status="completed")
    run = make_run(ws, "clinic")
    append_event(run, "queued", ticket=1)
    append_event(run, "started", pid=os.getpid(), pid_start=own.start)
    with pytest.raises(UserError, match="its run is going on with it; stop the run first"):
        adapter_library.delete(ws, "clinic")
    append_event(run, "ended", status="completed")
    adapter_library.delete(ws, "clinic")
    assert adapters.list_adapters(ws) == []


def test_notes_stay_with_the_adapter_and_out_of_its_export(ws: Workspace) -> None:
    assert adapter_library.set_notes(ws, "clinic", "Two\nlines\x07 ").notes == "Two\nlines"
    with zipfile.ZipFile(adapters.export_zip(ws, "clinic")) as archive:
        assert not any("notes" in name for name in archive.namelist())
    assert adapter_library.set_notes(ws, "clinic", " ").notes == ""
    with pytest.raises(UserError, match=r"^notes: at most 4000 characters \(got 4001\); shorten them$"):
        adapter_library.set_notes(ws, "clinic", "x" * 4001)
