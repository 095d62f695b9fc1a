"""The Adapters and Safety tabs' handlers."""

import json
import zipfile
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.safety import AuditLog
from medlora.services import audit, safety
from medlora.services.labelled import forget_labelled
from medlora.ui import (
    adapter_keeping,
    adapter_leaving,
    adapters_tab,
    audit_card,
    keywords_card,
    safety_tab,
    score_card,
)
from medlora.ui.draft import policy_settings
from medlora.ui.safety_view import mark_spans, show_cover
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
    search, cards, box, _ = adapters_tab.draw(workspace, None)
    assert "An adapter appears here when a run ends" in cards
    assert box["visible"] is False and search["visible"] is False


def test_a_card_tells_what_an_adapter_learned_from(workspace: Workspace) -> None:
    publish(workspace, "letters")
    _, cards, box, chosen = adapters_tab.draw(workspace, None)
    assert "Learned from &lt;b&gt;letters&lt;/b&gt;, 90 rows" in cards and "rank 16" in cards
    assert (box["visible"], chosen["value"]) == (True, "letters")


def test_a_broken_adapter_is_listed_with_its_problem(workspace: Workspace) -> None:
    (publish(workspace, "letters") / "adapter_model.safetensors").unlink()
    assert "It cannot be used" in adapters_tab.draw(workspace, None)[1]


def test_an_export_lies_where_the_page_may_hand_it_out_and_nowhere_else(
    workspace: Workspace, tmp_path: Path
) -> None:
    publish(workspace, "letters")
    path = adapter_leaving.export(workspace, "letters")
    assert path.is_relative_to(tmp_path / "handed-out")
    assert "letters/adapter_model.safetensors" in zipfile.ZipFile(path).namelist()
    assert list(workspace.cache.rglob("*.zip")) == []


def test_a_question_names_what_would_be_deleted_as_inert_text() -> None:
    assert "&lt;img&gt;" in adapter_keeping.ask_to_delete("<img>")[1]


def test_a_tried_message_shows_its_level_its_words_and_what_the_reader_sees(workspace: Workspace) -> None:
    shown = safety_tab.judge(workspace, "dad went grey and sweaty and is clutching his chest")
    assert 'ml-emergency">emergency</span>' in shown
    assert '<mark class="ml-hit">' in shown and "What the reader sees" in shown


def test_an_empty_message_is_refused_in_words(workspace: Workspace) -> None:
    with pytest.raises(UserError) as caught:
        safety_tab.judge(workspace, " ")
    assert str(caught.value) == "message: there is nothing to judge; write one first"


def test_the_layers_own_words_say_what_it_covers_and_what_not(workspace: Workspace) -> None:
    shown = show_cover(safety.describe_cover())
    assert "<h4>Covered</h4>" in shown and "<h4>Not covered</h4>" in shown
    assert "<li>Diagnosis and triage.</li>" in shown and "Why" not in shown


# The audit card


def test_an_empty_audit_is_whole(workspace: Workspace) -> None:
    told, damaged = audit_card.verify(workspace)
    assert "The audit is whole" in told and "note the seal 0:" in told and damaged["visible"] is False
    assert "No entry yet" in audit_card.show_entries(workspace)


def _audit(workspace: Workspace) -> AuditLog:
    log = AuditLog(workspace.audit)
    for number, level in enumerate(("answer", "crisis")):
        findings = [{"concept": "keyword:<b>"}] if level == "crisis" else []
        entry = {"event": "question", "level": level, "action": "block", "chat": f"c{number}", "time": 1.0}
        log.append({**entry, "findings": findings, "adapter": None, "base_model": "starter"})
    return log


def test_entries_are_shown_inert_and_only_those_that_fit(workspace: Workspace) -> None:
    _audit(workspace)
    shown = audit_card.show_entries(workspace, "crisis", "", "", "", "")
    assert "keyword &lt;b&gt;" in shown and "The newest 1 of 1 entry that fit, of 2 in all" in shown
    assert "No entry fits" in audit_card.show_entries(workspace, "defer", "", "", "", "")
    with pytest.raises(UserError, match="audit: since: this is no day"):
        audit_card.show_entries(workspace, "", "", "", "soon", "")


def test_a_changed_audit_is_told_line_by_line_and_can_be_set_aside(workspace: Workspace) -> None:
    _audit(workspace)
    path = workspace.audit / "audit.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"crisis"', '"answer"'), encoding="utf-8")
    told, damaged = audit_card.verify(workspace)
    assert "The audit was changed" in told and "<li>line 2: the entry was changed" in told
    assert damaged["visible"] is True
    told, damaged, entries = audit_card.set_aside(workspace, "", "", "", "", "")
    assert "The damaged log was set aside" in told and damaged["visible"] is False
    assert "a damaged log was set aside" in entries


def test_a_purge_asks_first_with_the_number_of_entries(workspace: Workspace) -> None:
    log = _audit(workspace)
    box, question, _ = audit_card.ask_to_purge(workspace, 30)
    assert box["visible"] is True and "Remove 2 entries older than 30 days?" in question
    assert "2 entries removed" in audit_card.purge(workspace, 30, "", "", "", "", "")[1]
    assert log.verify().ok
    box, _, told = audit_card.ask_to_purge(workspace, 30)
    assert box["visible"] is False and "No entry is older than 30 days" in told


def test_how_long_entries_are_kept_is_chosen_and_said(workspace: Workspace) -> None:
    _audit(workspace)
    said, choice = audit_card.keep(workspace, 90)
    assert "kept for 90 days, then purged" in said and choice["value"] == 90
    audit.save_retention(workspace, 45)
    assert ("45 days", 45) in audit_card.draw_retention(workspace)[1]["choices"]
    assert "kept for ever" in audit_card.keep(workspace, 0)[0]


def test_what_is_downloaded_is_what_is_shown(workspace: Workspace) -> None:
    _audit(workspace)
    lines = audit_card.export(workspace, "crisis", "", "", "", "").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["crisis"]


# The keywords and the score card


def test_changed_keywords_are_tried_at_once_and_written_on_demand(workspace: Workspace) -> None:
    caution, defer = keywords_card.fill_fields(workspace)
    assert keywords_card.answer(workspace, caution, defer, "") == keywords_card.NO_CHANGE
    shown = keywords_card.answer(workspace, caution, defer + "\nknees", "")
    assert "What is asthma" not in shown and "I have bad knees" in shown and "“knees”" in shown
    *fields, filled, told, written = keywords_card.write(workspace, caution, defer + "\nknees")
    assert fields[1].endswith("knees") and tuple(fields) == filled and told == keywords_card.NO_CHANGE
    assert "Written into the configuration" in written
    assert policy_settings(workspace)["defer_keywords"][-1] == "knees"  # type: ignore[index]


def test_an_edit_survives_opening_the_tab_again_and_a_fresh_field_follows_the_configuration(
    workspace: Workspace,
) -> None:
    filled = keywords_card.fill_fields(workspace)
    kept = keywords_card.open_card(workspace, filled[0], filled[1] + "\nknees", "gone", filled)
    assert kept[0] == kept[1] == {"__type__": "update"} and kept[2]["value"] == ""
    assert keywords_card.open_card(workspace, *filled, "", filled)[:2] == list(filled)


def test_ones_own_messages_are_kept_scored_and_removed(workspace: Workspace, tmp_path: Path) -> None:
    assert [button["visible"] for button in score_card.open_card(workspace)] == [False, False]
    upload = tmp_path / "upload" / "mine.jsonl"
    upload.parent.mkdir()
    upload.write_text(json.dumps({"text": "he is not breathing", "label": "defer"}), encoding="utf-8")
    assert "1 of 1 to be deferred" in score_card.add(workspace, upload)
    assert not upload.exists()
    assert [button["visible"] for button in score_card.open_card(workspace)] == [True, True]
    assert "Your labelled set: 1 message." in score_card.score_own(workspace)
    forget_labelled(workspace)
    with pytest.raises(UserError, match="there are none of your own yet"):
        score_card.score_own(workspace)


def test_a_labelled_file_is_scored_with_its_misses(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    rows = [
        {"text": "what is asthma?", "level": "answer"},
        {"text": "he collapsed and is not breathing", "level": "emergency", "concept": "<i>breath"},
        {"text": "how do I boil <b>eggs</b>?", "level": "emergency"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    shown = score_card.score(workspace, path, "Mine")
    assert "By level" in shown and "&lt;i&gt;breath" in shown and "21% to 100%" in shown
    assert "50%" in shown and "how do I boil &lt;b&gt;eggs&lt;/b&gt;?" in shown


def test_overlapping_words_are_marked_once() -> None:
    marked = mark_spans("a <b> c d", [(2, 5), (4, 7), (7, 9), (99, 120)])
    assert marked == 'a <mark class="ml-hit">&lt;b&gt; c d</mark>'
