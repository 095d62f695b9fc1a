"""Several speakers answer one question side by side, each behind its own safety settings."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from medlora.errors import RunFailedError, UserError
from medlora.safety.audit import AuditLog
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_events import (
    Broken,
    EngineEvent,
    Finished,
    Notice,
    Numbered,
    Question,
    Stage,
    Started,
    Text,
    Waiting,
)
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_tokenizer

ASKED = [{"role": "user", "content": "What is asthma?"}]
EMERGENCY = [{"role": "user", "content": "My dad is not breathing"}]
FIRST, SECOND = "Asthma is common. It can be treated.", "Ask your nurse. She knows. And more."
EVIL = "Rest a little. You are not having a heart attack. The secret tail must never be seen."


@dataclass
class SeveralVoices:
    """An engine in which each speaker says a text of its own, word by word in turn."""

    says: tuple[str, ...] = (FIRST, SECOND)
    broken: int | None = None
    dies_after: int | None = None
    asked: list[tuple[Question, ...]] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    closed_early: int = 0

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        for _, event in self.compare([question], owner):
            yield event

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        self.asked.append(tuple(questions))
        yield None, Waiting(1)
        yield 0, Stage("loading_model")
        live = [number for number in range(len(questions)) if number != self.broken]
        if self.broken is not None:
            yield self.broken, Broken("adapter b: it is damaged")
        for number in live:
            yield number, Started("tiny", None, f"{number}" * 12)
            yield number, Notice(f"From {number}.")
        try:
            yield from self._speak(live, owner)
        except GeneratorExit:
            self.closed_early += 1
            raise
        for number in live:
            yield number, Finished(stopped=owner in self.stopped, tokens=9, tokens_per_second=3.0)

    def _speak(self, live: list[int], owner: str) -> Generator[Numbered, None, None]:
        for count, at in enumerate(range(0, max(map(len, self.says)), 4)):
            if owner in self.stopped:
                return
            if count == self.dies_after:
                raise RunFailedError("chat: the process ended")
            for number in live:
                piece = self.says[number][at : at + 4]
                if piece:
                    yield number, Text(piece, count)

    def stop(self, owner: str) -> None:
        self.stopped.add(owner)

    def warm(self) -> None: ...
    def free(self, reason: str) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def settings(tmp_path: Path) -> ChatSettings:
    folder = tmp_path / "model"
    make_tiny_tokenizer(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    return ChatSettings(base_model=str(folder), system_prompt="Be kind.")


def _compare(
    ws: Workspace, engine: SeveralVoices, *settings: ChatSettings, turns: list[dict[str, str]] | None = None
) -> list[tuple[ChatUpdate, ...]]:
    return list(ChatService(ws, engine).compare("chat-1", turns or ASKED, settings))


def test_the_answers_grow_together_each_with_its_own_label(ws: Workspace, settings: ChatSettings) -> None:
    shown = _compare(ws, SeveralVoices(), settings, settings)
    left, right = shown[-1]
    assert (left.text, right.text, left.done, right.done) == (FIRST, SECOND, True, True)
    assert (left.weights, right.weights) == ("000000000000", "111111111111")
    assert (left.notices, right.notices) == (("From 0.",), ("From 1.",))
    assert any(one.text and other.text and not one.done and not other.done for one, other in shown)
    for column in (0, 1):
        texts = [both[column].text for both in shown]
        assert all(after.startswith(before) for before, after in pairwise(texts))
        assert "".join(both[column].delta for both in shown) == texts[-1]
    assert [all(update.done for update in both) for both in shown].count(True) == 1


def test_all_wait_at_one_place_in_the_queue(ws: Workspace, settings: ChatSettings) -> None:
    shown = _compare(ws, SeveralVoices(), settings, settings)
    assert (1, 1) in [(left.queue_place, right.queue_place) for left, right in shown]


def test_every_answer_is_audited_for_itself(ws: Workspace, settings: ChatSettings) -> None:
    _compare(ws, SeveralVoices(), settings, settings)
    entries = list(AuditLog(ws.audit).entries())
    assert [entry["event"] for entry in entries] == ["question", "question", "answer", "answer"]
    assert [entry["weights"] for entry in entries[2:]] == ["000000000000", "111111111111"]


def test_an_emergency_asks_nobody(ws: Workspace, settings: ChatSettings) -> None:
    engine = SeveralVoices()
    (both,) = _compare(ws, engine, settings, settings, turns=EMERGENCY)
    assert [(update.action, update.done) for update in both] == [("block", True)] * 2
    assert engine.asked == []


def test_a_question_is_judged_by_each_speakers_own_settings(ws: Workspace, settings: ChatSettings) -> None:
    engine = SeveralVoices(says=(SECOND,))
    strict = replace(settings, safety={"defer_keywords": ["severe", "asthma"]})
    turns = [{"role": "user", "content": "My asthma is severe today, what should I do?"}]
    lenient = replace(settings, safety={"content_filter": False})
    left, right = _compare(ws, engine, strict, lenient, turns=turns)[-1]
    assert (left.action, left.label) == ("defer", None)
    assert (right.text, right.weights) == (SECOND, "000000000000")
    assert len(engine.asked[0]) == 1


def test_a_withheld_answer_leaves_the_other_alone(ws: Workspace, settings: ChatSettings) -> None:
    engine = SeveralVoices(says=(EVIL, SECOND * 4))
    shown = _compare(ws, engine, settings, settings)
    assert all("heart" not in left.text and "secret" not in left.text for left, _ in shown)
    assert (shown[-1][0].withheld, shown[-1][1].withheld, shown[-1][1].text) == (True, False, SECOND * 4)


def test_when_all_are_withheld_generation_stops(ws: Workspace, settings: ChatSettings) -> None:
    engine = SeveralVoices(says=(EVIL + EVIL, EVIL + EVIL))
    assert all(update.withheld for update in _compare(ws, engine, settings, settings)[-1])
    assert engine.closed_early == 1


def test_one_that_cannot_answer_says_why_and_the_other_goes_on(ws: Workspace, settings: ChatSettings) -> None:
    left, right = _compare(ws, SeveralVoices(broken=1), settings, settings)[-1]
    assert (left.text, left.error) == (FIRST, None)
    assert (right.text, right.error, right.done) == ("", "adapter b: it is damaged", True)


def test_a_dying_engine_leaves_both_with_what_was_judged(ws: Workspace, settings: ChatSettings) -> None:
    left, right = _compare(ws, SeveralVoices(dies_after=5), settings, settings)[-1]
    assert (left.text, right.text) == ("Asthma is common. ", "Ask your nurse. ")
    assert left.error == right.error == "chat: the process ended"


def test_stop_stops_all_and_keeps_what_was_judged(ws: Workspace, settings: ChatSettings) -> None:
    service = ChatService(ws, SeveralVoices())
    last: tuple[ChatUpdate, ...] = ()
    for last in service.compare("chat-1", ASKED, [settings, settings]):
        if all(update.text for update in last):
            service.stop("chat-1")
    assert [(update.text, update.stopped, update.done) for update in last] == [
        ("Asthma is common. ", True, True),
        ("Ask your nurse. ", True, True),
    ]


def test_a_closed_tab_stops_all_and_is_audited(ws: Workspace, settings: ChatSettings) -> None:
    engine = SeveralVoices()
    shown = ChatService(ws, engine).compare("chat-1", ASKED, [settings, settings])
    while not any(update.text for update in next(shown)):
        pass
    shown.close()  # type: ignore[attr-defined]
    assert engine.closed_early == 1
    verdicts = [entry["verdict"] for entry in AuditLog(ws.audit).entries() if entry["event"] == "answer"]
    assert verdicts == ["cancelled", "cancelled"]


def test_each_speaker_may_read_a_conversation_of_its_own(ws: Workspace, settings: ChatSettings) -> None:
    engine = SeveralVoices()
    own = [
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": says}, *ASKED]
        for says in ("One.", "Two.")
    ]
    list(ChatService(ws, engine).compare_conversations("c", [(turns, settings) for turns in own]))
    assert [question.messages[2]["content"] for question in engine.asked[0]] == ["One.", "Two."]


@pytest.mark.parametrize("count", [0, 7])
def test_there_is_a_bound_on_how_many_answer(ws: Workspace, settings: ChatSettings, count: int) -> None:
    with pytest.raises(UserError) as refused:
        _compare(ws, SeveralVoices(), *[settings] * count)
    assert str(refused.value) == f"chat: side by side, 1 to 6 can answer (got {count}); choose fewer"
