"""The Adapters and Safety tabs' handlers."""

import json
import zipfile
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.ui import adapters_tab, safety_tab
from medlora.ui.safety_view import mark_spans
from medlora.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MEDLORA_HARDWARE", str(Path(__file__).with_name("hardware_cpu.json")))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "handed-out"))
    return Workspace.open(tmp_path / "home")


def publish(workspace: Workspace, name: str) -> Path:
    folder = workspace.adapter(name)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 16}), encoding="utf-8")
    provenance = {"dataset": {"name": "<b>letters</b>", "rows_train": 90}, "base_model": {"name": "starter"}}
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    return folder


def test_without_an_adapter_the_tab_says_where_they_come_from(workspace: Workspace) -> None:
    cards, box, _ = adapters_tab.draw(workspace, None)
    assert "An adapter appears here when a run ends" in cards and box["visible"] is False


def test_a_card_tells_what_an_adapter_learned_from(workspace: Workspace) -> None:
    publish(workspace, "letters")
    cards, box, chosen = adapters_tab.draw(workspace, None)
    assert "Learned from &lt;b&gt;letters&lt;/b&gt;, 90 rows" in cards and "rank 16" in cards
    assert (box["visible"], chosen["value"]) == (True, "letters")


def test_a_broken_adapter_is_listed_with_its_problem(workspace: Workspace) -> None:
    (publish(workspace, "letters") / "adapter_model.safetensors").unlink()
    assert "It cannot be used" in adapters_tab.draw(workspace, None)[0]


def test_an_export_lies_where_the_page_may_hand_it_out_and_nowhere_else(
    workspace: Workspace, tmp_path: Path
) -> None:
    publish(workspace, "letters")
    path = adapters_tab.export(workspace, "letters")
    assert path.is_relative_to(tmp_path / "handed-out")
    assert "letters/adapter_model.safetensors" in zipfile.ZipFile(path).namelist()
    assert list(workspace.cache.rglob("*.zip")) == []


def test_a_question_names_what_would_be_deleted_as_inert_text() -> None:
    assert "&lt;img&gt;" in adapters_tab.ask_to_delete("<img>")[1]


def test_a_tried_message_shows_its_level_its_words_and_what_the_reader_sees(workspace: Workspace) -> None:
    shown = safety_tab.judge(workspace, "dad went grey and sweaty and is clutching his chest")
    assert 'ml-emergency">emergency</span>' in shown
    assert '<mark class="ml-hit">' in shown and "What the reader sees" in shown


def test_an_empty_message_is_refused_in_words(workspace: Workspace) -> None:
    with pytest.raises(UserError) as caught:
        safety_tab.judge(workspace, " ")
    assert str(caught.value) == "message: there is nothing to judge; write one first"


def test_an_empty_audit_is_whole(workspace: Workspace) -> None:
    assert "The audit is whole" in safety_tab.verify(workspace)
    assert "No entry yet" in safety_tab.show_entries(workspace)


def test_a_labelled_file_is_scored_with_its_misses(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    rows = [
        {"text": "what is asthma?", "level": "answer"},
        {"text": "he collapsed and is not breathing", "level": "emergency"},
        {"text": "how do I boil <b>eggs</b>?", "level": "emergency"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    shown = safety_tab.show_score(workspace, path)
    assert "50%" in shown and "how do I boil &lt;b&gt;eggs&lt;/b&gt;?" in shown


def test_overlapping_words_are_marked_once() -> None:
    marked = mark_spans("a <b> c d", [(2, 5), (4, 7), (7, 9), (99, 120)])
    assert marked == 'a <mark class="ml-hit">&lt;b&gt; c d</mark>'
