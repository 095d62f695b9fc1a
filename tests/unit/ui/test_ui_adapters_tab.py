"""The Adapters tab: what a card says, who signs, what comes in and goes out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from medlora.errors import UserError
from medlora.runs.events import append_event
from medlora.services import adapter_export, adapter_library, adapters, evaluate, release
from medlora.services.chat import ChatService
from medlora.ui import (
    adapter_arriving,
    adapter_keeping,
    adapter_leaving,
    adapters_tab,
    chat_turns,
    release_card,
)
from medlora.workspace import RunPaths, Workspace, make_private, write_json
from tests.adapter_files import write_adapter
from tests.tiny_models import make_tiny_model

SHARE = {"hits": 24, "total": 24, "value": 1.0, "wilson_95": [0.86, 1.0]}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "handed-out"))
    ws = Workspace.open(tmp_path / "home")
    write_adapter(make_tiny_model(tmp_path / "tiny"), ws.adapter("kind"))
    return ws


def measure(ws: Workspace) -> None:
    result: dict[str, Any] = {
        "adapter_sha256": adapters.weights_hash(ws.adapter("kind")),
        "dataset": {"name": "clinic", "rows": 20, "of": 20, "source": "rows held back from training"},
        "base": {"loss": 2.5}, "adapter": {"loss": 1.5},
        "drift": {"prompts": 24} | {who: {"fired": SHARE, "rules": {}} for who in ("base", "adapter")},
        "deferral": {"set": "shipped", "recall": SHARE, "false_deferral": SHARE},
    }  # fmt: skip
    write_json(ws.adapter("kind") / evaluate.RESULT, result)


def cards(ws: Workspace, search: str = "") -> str:
    return str(adapters_tab.draw(ws, None, search)[1])


def test_a_card_tells_base_licence_figures_and_state(ws: Workspace) -> None:
    assert "base acme/tiny, see the model&#x27;s own page" in cards(ws) and "draft" in cards(ws)
    measure(ws)
    adapter_library.set_notes(ws, "kind", "<b>For</b> the trial")
    shown = cards(ws)
    assert "2.50" in shown and "1.50" in shown and "ready to sign" in shown
    assert "&lt;b&gt;For&lt;/b&gt; the trial" in shown


def test_cards_are_searched(ws: Workspace, tmp_path: Path) -> None:
    write_adapter(tmp_path / "tiny", ws.adapter("other"))
    search, shown, box, chosen = adapters_tab.draw(ws, None, "OTHER")
    assert search["visible"] and box["visible"] and chosen["value"] == "other" and "kind" not in shown
    assert "No adapter matches" in cards(ws, "neither")
    assert adapters_tab.draw(ws, None, "x y")[2]["visible"] is False


def test_signing_is_offered_once_the_gate_is_reached_and_keeps_a_report(ws: Workspace) -> None:
    shown, signing, again, back = release_card.look(ws, "kind")
    assert "not yet with these weights" in shown
    assert (signing["visible"], again["visible"], back["visible"]) == (False, True, False)
    with pytest.raises(UserError, match="it is a draft and cannot be signed for yet"):
        release_card.sign(ws, "kind", "Ada", "")
    measure(ws)
    assert release_card.look(ws, "kind")[1]["visible"] is True
    shown = release_card.sign(ws, "kind", "Ada <i>", "For teaching")[0]
    assert "signed off by Ada &lt;i&gt;" in shown and "For teaching" in shown
    assert "Signed off by Ada" in (ws.adapter("kind") / "report.html").read_text("utf-8")
    assert "ready to sign" in release_card.withdraw(ws, "kind")[0]


def test_the_chat_says_where_its_speaker_stands(ws: Workspace) -> None:
    desk = chat_turns.Desk(ws, ChatService(ws))
    assert "draft" in desk.banner("adapter:kind") and desk.banner("base:starter") == ""
    measure(ws)
    release.sign(ws, "kind", "Ada")
    assert "signed off by Ada" in desk.describe("adapter:kind")[0]


def test_files_that_are_handed_out_lie_where_the_page_may_serve_them(ws: Workspace, tmp_path: Path) -> None:
    handed = tmp_path / "handed-out"
    html = release_card.hand_out_report(ws, "kind")
    markdown = release_card.hand_out_report(ws, "kind", markdown=True)
    modelfile = adapter_leaving.make_modelfile(ws, "kind")
    assert (html.name, markdown.name, modelfile.name) == ("kind-report.html", "kind-report.md", "Modelfile")
    assert all(path.is_relative_to(handed) for path in (html, markdown, modelfile))
    with pytest.raises(UserError, match=r"^adapter: none is chosen; choose one above$"):
        release_card.hand_out_report(ws, None)


def test_a_zip_comes_in_and_is_gone_from_the_upload_folder(ws: Workspace, tmp_path: Path) -> None:
    made = adapters.export_zip(ws, "kind")
    upload = make_private(tmp_path / "upload") / "kind.zip"
    made.rename(upload)
    done = adapter_arriving.take_in(ws, str(upload), " taken ", "")
    assert done.name == "taken" and not upload.exists()
    assert "taken is in the library" in adapter_arriving.show_imported(done)
    assert "imported" in cards(ws, "taken")
    with pytest.raises(UserError, match=r"^adapter: there is no file; choose a zip or tar first$"):
        adapter_arriving.take_in(ws, None, "", "")


def make_merge(ws: Workspace) -> RunPaths:
    run = RunPaths(make_private(ws.merges / "20261125-101500-kind-ab12"))
    write_json(run.root / "request.json", {"adapter_name": "kind"})
    append_event(run, "created")
    return run


def test_a_merge_is_watched_and_its_model_fetched(ws: Workspace) -> None:
    assert adapter_leaving.watch(ws, "kind", "") is not None
    run = make_merge(ws)
    make_private(run.root / "merged")
    (run.root / "merged" / "model.safetensors").write_bytes(b"weights")
    write_json(run.root / "result.json", {"same_next_token": 1.0, "compared_tokens": 96})
    append_event(run, "ended", status="completed")
    drawn = adapter_leaving.watch(ws, "kind", "")
    assert drawn is not None
    _, stop, told, fetch, seen = drawn
    assert stop["visible"] is False and fetch["visible"] is True
    assert "the same next word in 100 % of 96 places" in told and "ollama create kind" in told
    assert adapter_leaving.watch(ws, "kind", seen) is None
    with zipfile.ZipFile(adapter_leaving.fetch_merged(ws, "kind")) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert names == {"model.safetensors", "provenance.json", "Modelfile"}


def test_a_merge_that_goes_on_is_shown_and_keeps_its_adapter(ws: Workspace) -> None:
    run = make_merge(ws)
    append_event(run, "phase", name="merging", detail="adding", fraction=0.5)
    drawn = adapter_leaving.watch(ws, "kind", "")
    assert drawn is not None and drawn[0]["interactive"] is False and "Merging kind: adding" in drawn[2]
    with pytest.raises(UserError, match=r"^adapter kind: it is being merged; wait for it or stop it first$"):
        adapter_library.delete(ws, "kind")


def test_what_leaves_the_machine_is_asked_for_first(ws: Workspace) -> None:
    box, question = adapter_leaving.ask_to_push("kind", "ada/<b>kind", True)
    assert box["visible"] and "everyone can see it" in question and "ada/&lt;b&gt;kind" in question
    with pytest.raises(UserError, match="must be owner/name"):
        adapter_leaving.push(ws, "kind", "nowhere", False)


def test_notes_are_kept_and_said_to_be(ws: Workspace) -> None:
    assert adapter_keeping.save_notes(ws, "kind", " For May ") == [
        "For May",
        '<p class="ml-done">Notes saved.</p>',
    ]
    assert adapter_keeping.draw(ws, "kind", "")[:2] == ["kind", "For May"]
    assert json.loads((ws.adapter("kind") / "notes.json").read_text("utf-8")) == {"text": "For May"}
    assert adapter_export.list_merges(ws) == []


def test_a_late_look_closes_the_question_about_another_adapter_only(ws: Workspace) -> None:
    asked = adapter_keeping.ask_to_delete("kind")[1]
    assert adapter_keeping.draw(ws, "kind", asked)[-1] == gr.skip()
    assert adapter_keeping.draw(ws, "kind", "")[-1] == gr.skip()
    other = adapter_keeping.ask_to_delete("gone")[1]
    assert adapter_keeping.draw(ws, "kind", other)[-1] == gr.update(value="", visible=False)
    assert adapter_keeping.draw(ws, None, asked)[-1] == gr.update(value="", visible=False)
