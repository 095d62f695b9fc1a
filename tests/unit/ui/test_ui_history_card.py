"""The card of kept conversations: off at first, each visitor's own, nothing at all in a demo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from medlora.access.roles import GUEST, Caller, Role
from medlora.errors import UserError
from medlora.services import conversations
from medlora.services.chat import ChatService
from medlora.services.chat_log import Conversation
from medlora.ui import chat_speakers, chat_turns
from medlora.ui.chat_turns import Desk
from medlora.ui.chat_view import show_bubbles
from medlora.ui.history_card import Shelf
from medlora.workspace import Workspace

EMERGENCY = "dad went grey and sweaty and is clutching his chest"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ChatService]:
    service = ChatService(Workspace.open(tmp_path / "home"))
    yield service
    service.close()


@pytest.fixture
def shelf(service: ChatService) -> Shelf:
    return Shelf(service)


def _say(service: ChatService, talk: Conversation | None, message: str) -> Conversation:
    fields = chat_turns.describe_speaker(chat_speakers.settings_of(service, "base:starter"))[1:]
    steps = list(Desk(service.workspace, service).send_anyway(message, talk, "base:starter", *fields))
    ended = steps[-1][0]
    assert isinstance(ended, Conversation)
    return ended


def test_the_card_is_off_at_first_and_says_nothing_of_a_list(shelf: Shelf) -> None:
    box, keeps, shown, listed, note, tools, *_ = shelf.draw(None, "")
    assert (box["visible"], keeps, shown["visible"], tools["visible"]) == (True, False, False, False)
    assert listed["choices"] == [] and note == ""


def test_a_late_look_takes_no_press_of_the_switch_back_and_corrects_one_that_is_wrong(shelf: Shelf) -> None:
    untouched = gr.skip()
    assert shelf.draw(None, "", False)[1] == untouched
    assert shelf.draw(None, "", True)[1] is False
    shelf.switch(True, None)
    assert shelf.draw(None, "", True)[1] == untouched
    assert shelf.draw(None, "", False)[1] is True


def test_what_is_said_is_kept_from_the_switch_on_and_opens_again(shelf: Shelf, service: ChatService) -> None:
    talk = _say(service, None, EMERGENCY)
    assert conversations.list_kept(service.workspace, "") == []
    talk = shelf.switch(True, talk) or talk
    talk = _say(service, talk, "he is blue now")
    drawn = shelf.draw(talk, "BLUE")
    assert drawn[3]["value"] == talk.chat_id and drawn[3]["choices"][0][0].startswith(EMERGENCY)
    assert drawn[6] == EMERGENCY
    again, bubbles, speaker = shelf.open(talk.chat_id, Conversation())
    assert again.turns() == talk.turns() and speaker["value"] == "base:starter"
    assert bubbles == show_bubbles(talk.lines)
    assert len(bubbles) == 4 and "ml-emergency" in bubbles[1]["content"]
    assert "None holds these words." in shelf.draw(talk, "green")[4]


def test_a_conversation_is_deleted_after_a_question_and_leaves_the_log(
    shelf: Shelf, service: ChatService
) -> None:
    shelf.switch(True, None)
    talk = _say(service, None, EMERGENCY)
    box, question, doomed = shelf.ask_to_delete(talk, False)
    assert box["visible"] and EMERGENCY in question and doomed == [talk.chat_id]
    assert shelf.ask_to_delete(None, True)[2] == doomed
    fresh, log = shelf.delete(doomed, talk)
    assert isinstance(fresh, Conversation) and fresh.lines == () and log == []
    assert conversations.list_kept(service.workspace, None) == []
    assert shelf.ask_to_delete(talk, False)[2] == []


def test_an_export_is_named_by_its_time_alone(shelf: Shelf, service: ChatService) -> None:
    shelf.switch(True, None)
    talk = _say(service, None, EMERGENCY)
    path = shelf.export(talk, "md")
    assert EMERGENCY in path.read_text(encoding="utf-8") and "dad" not in path.name


def test_an_answer_under_way_is_not_left(shelf: Shelf, service: ChatService) -> None:
    shelf.switch(True, None)
    talk = _say(service, None, EMERGENCY)
    with pytest.raises(UserError, match="still being answered"):
        shelf.open(talk.chat_id, Conversation().add("user", "Hello?"))


def test_each_login_has_a_history_of_its_own_and_a_guest_has_none(
    shelf: Shelf, service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers = iter([Caller("ada", Role.TESTER)] * 2)
    monkeypatch.setattr(chat_turns, "current_caller", lambda: next(callers))
    shelf.switch(True, None)
    talk = _say(service, None, EMERGENCY)
    assert [kept.owner for kept in conversations.list_kept(service.workspace, None)] == ["ada"]
    for other in (Caller("tom", Role.TESTER), GUEST):
        monkeypatch.setattr(chat_turns, "current_caller", lambda other=other: other)
        with pytest.raises(UserError):
            shelf.open(talk.chat_id, None)
    assert shelf.draw(None, "")[0]["visible"] is False


def test_a_public_page_offers_no_history(service: ChatService) -> None:
    public = Shelf(ChatService(service.workspace, public=True))
    assert public.draw(None, "")[0]["visible"] is False
    with pytest.raises(UserError, match="nothing is kept here"):
        public.switch(True, None)
