"""Conversations are kept on a wish alone, by their owner, whole, and are deleted for good."""

from __future__ import annotations

import json
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from medlora.errors import NotFoundError, UserError
from medlora.services import conversations
from medlora.services.chat_log import Conversation, Line, answer_line, side_by_side
from medlora.services.chat_turn import ChatSettings, ChatUpdate, TraceLine
from medlora.services.feedback import describe_answer
from medlora.workspace import Workspace

CANARY = "Wxyzzy-canary"
UPDATE = ChatUpdate(
    text="Asthma is common.", done=True, level="caution", action="annotate", notes=("See a nurse.",),
    notices=("Cut.",), trace=(TraceLine("input", "caution", "asthma", ("present",), "a source", "annotate"),),
    base_model="tiny", adapter="kind", weights="abab", tokens=7, seconds_to_first_token=0.5,
    tokens_per_second=12.0, truncated=True,
)  # fmt: skip


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def _talk(question: str = "What is asthma?", update: ChatUpdate = UPDATE) -> Conversation:
    settings = ChatSettings(adapter="kind", base_model="tiny", system_prompt="Be kind.")
    asked = Conversation().add("user", question)
    return asked.append(answer_line(update, describe_answer(asked.turns(), update, settings), "adapter:kind"))


def _holding(ws: Workspace, word: str) -> list[str]:
    files = [path for path in ws.home.rglob("*") if path.is_file()]
    return [path.name for path in files if word.encode() in path.read_bytes()]


def test_nothing_is_kept_and_no_file_made_before_somebody_wishes_it(ws: Workspace) -> None:
    talk = conversations.keep(ws, "", _talk(CANARY))
    assert not talk.kept
    assert conversations.list_kept(ws, "") == []
    conversations.switch(ws, "", on=False)
    assert not ws.history.exists() and _holding(ws, CANARY) == []


def test_a_conversation_comes_back_as_it_was_shown(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    talk = conversations.keep(ws, "", _talk())
    assert talk.kept
    assert conversations.reopen(ws, "", talk.chat_id) == talk
    (kept,) = conversations.list_kept(ws, "")
    assert (kept.name, kept.size, kept.speakers) == ("What is asthma?", 2, ("adapter:kind",))
    for path in (ws.history, ws.history / "conversations.db"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_several_answers_come_back_side_by_side_each_as_a_rating_would_keep_it(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    first = _talk()
    other = replace(UPDATE, text="It is a disease.", adapter=None)
    base = answer_line(
        other, describe_answer(first.turns()[:1], other, ChatSettings(base_model="tiny")), "base:tiny"
    )
    both = replace(first, lines=(first.lines[0], side_by_side([first.lines[1], base])))
    both = conversations.keep(ws, "", both)
    again = conversations.reopen(ws, "", both.chat_id)
    assert again == both
    assert again.turns("base:tiny")[1]["content"] == "It is a disease."
    assert again.turns("adapter:kind")[1]["content"] == again.turns()[1]["content"] == "Asthma is common."


def test_a_question_that_medlora_did_not_live_to_answer_is_there_and_says_so(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    talk = conversations.keep(ws, "", _talk().add("user", "And now?"))
    last = conversations.reopen(ws, "", talk.chat_id).lines[-1]
    assert last.role == "assistant" and last.update is not None
    assert last.update.error == "This was not answered before the page or medlora was closed; ask again."


def test_each_owner_sees_and_deletes_their_own_alone(ws: Workspace) -> None:
    for owner in ("ada", "tom"):
        conversations.switch(ws, owner, on=True)
    talk = conversations.keep(ws, "ada", _talk())
    assert conversations.list_kept(ws, "tom") == [] and len(conversations.list_kept(ws, None)) == 1
    with pytest.raises(NotFoundError):
        conversations.reopen(ws, "tom", talk.chat_id)
    with pytest.raises(NotFoundError):
        conversations.rename(ws, "tom", talk.chat_id, "mine")
    with pytest.raises(NotFoundError):
        conversations.delete(ws, "tom", [talk.chat_id])
    assert conversations.delete_all(ws, "tom") == 0
    conversations.keep(ws, "tom", replace(talk, kept=False))
    assert [kept.owner for kept in conversations.list_kept(ws, None)] == ["ada"]


def test_words_are_found_in_names_and_in_what_was_said_whatever_their_case(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    first = conversations.keep(ws, "", _talk("Was ist eine ÜBERDOSIS?"))
    conversations.keep(ws, "", _talk("What is gout?"))
    assert [kept.chat_id for kept in (first,)] == [
        kept.conversation_id for kept in conversations.list_kept(ws, "", "überdosis ASTHMA")
    ]
    assert len(conversations.list_kept(ws, "", "common")) == 2
    assert conversations.list_kept(ws, "", "100%") == []


def test_a_name_stays_when_the_conversation_goes_on(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    talk = conversations.keep(ws, "", _talk("x" * 200))
    assert len(conversations.list_kept(ws, "")[0].name) == 80
    assert conversations.rename(ws, "", talk.chat_id, "  For the\nround ") == "For the round"
    conversations.keep(ws, "", talk.add("user", "And now?"))
    (kept,) = conversations.list_kept(ws, "")
    assert (kept.name, kept.size) == ("For the round", 3)
    with pytest.raises(UserError, match="its name is missing"):
        conversations.rename(ws, "", talk.chat_id, "  ")


def test_what_is_deleted_is_in_no_file_any_more_even_while_somebody_reads(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    talk = conversations.keep(ws, "", _talk(f"{CANARY}? " * 2000))
    other = conversations.keep(ws, "", _talk("What is gout?"))
    conversations.keep(ws, "", talk.add("user", f"{CANARY} again"))
    assert _holding(ws, CANARY)
    with sqlite3.connect(ws.history / "conversations.db") as reader:
        reader.execute("SELECT count(*) FROM turns").fetchone()
        assert conversations.delete(ws, "", [talk.chat_id]) == 1
    reader.close()
    assert _holding(ws, CANARY) == []
    assert [kept.conversation_id for kept in conversations.list_kept(ws, "")] == [other.chat_id]
    with pytest.raises(NotFoundError):
        conversations.delete(ws, "", [talk.chat_id])


def test_what_was_deleted_on_another_page_does_not_come_back_with_the_next_answer(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    talk = conversations.keep(ws, "", _talk())
    conversations.delete_all(ws, "")
    conversations.keep(ws, "", talk.add("user", "And now?"))
    assert conversations.list_kept(ws, "") == []


def test_a_question_that_could_not_be_asked_leaves_nothing(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    before = Conversation()
    conversations.keep(ws, "", before.add("user", CANARY))
    conversations.take_back(ws, "", before)
    assert conversations.list_kept(ws, "") == [] and _holding(ws, CANARY) == []


def test_a_wish_that_is_taken_back_leaves_what_is_there_and_adds_nothing(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    talk = conversations.keep(ws, "", _talk())
    conversations.switch(ws, "", on=False)
    conversations.keep(ws, "", talk.add("user", CANARY))
    conversations.keep(ws, "", _talk(CANARY))
    assert [kept.size for kept in conversations.list_kept(ws, "")] == [2]
    assert _holding(ws, CANARY) == []


def test_an_export_is_a_dataset_row_with_what_is_known_beside_it(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    talk = conversations.keep(ws, "", _talk())
    kept = conversations.show(ws, "", talk.chat_id)
    (row,) = [json.loads(line) for line in conversations.export_jsonl([kept]).splitlines()]
    assert row["messages"] == talk.turns()
    assert row["answers"] == [{"by": "kind · abab", "level": "caution", "action": "annotate"}]
    name = conversations.file_name(kept, "jsonl")
    assert name.startswith("conversation-2") and "asthma" not in name.lower()


def test_an_export_to_read_says_who_spoke_and_can_fetch_nothing(ws: Workspace) -> None:
    conversations.switch(ws, "", on=True)
    evil = replace(UPDATE, text="![x](https://evil.example/p.png) <script>alert(1)</script>")
    talk = conversations.keep(ws, "", _talk("What is asthma?", evil))
    text = conversations.export_markdown([conversations.show(ws, "", talk.chat_id)])
    assert "### kind · abab" in text and "> See a nurse." in text
    assert "![" not in text.replace("!\\[", "") and "<script" not in text


def test_a_line_of_another_version_is_read_as_far_as_it_is_known() -> None:
    from medlora.services.chat_log import read_line

    line = read_line("assistant", "Yes.", {"update": {"level": "answer", "colour": "blue"}, "new": 1}, ())
    assert line == Line("assistant", "Yes.", ChatUpdate(text="Yes.", done=True, level="answer"))
