"""A blind comparison keeps names back until the vote, and is fair until then."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from medlora.errors import RunFailedError, UserError
from medlora.services import audit, blind, feedback
from medlora.services.blind import Duel, Seat
from medlora.services.chat import ChatService, ChatSettings
from medlora.services.chat_events import (
    Broken,
    EngineEvent,
    Finished,
    Numbered,
    Question,
    Stage,
    Started,
    Text,
)
from medlora.ui import compare_section
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_tokenizer

QUESTION = "What is asthma?"


@dataclass
class TwoVoices:
    """An engine that says a text for each question it is asked."""

    says: str = "Asthma is common."
    broken: bool = False
    asked: list[Question] = field(default_factory=list)

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        for _, event in self.compare([question], owner):
            yield event

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        self.asked += questions
        yield 0, Stage("loading_adapter")
        for number in range(len(questions)):
            yield number, Started(questions[number].base.name, None, f"{number}" * 12)
            if self.broken and number:
                yield number, Broken("adapter SECRET: it is damaged")
            else:
                yield number, Text(self.says, 1)
        for number in range(len(questions)):
            if not (self.broken and number):
                yield number, Finished(stopped=False, tokens=9)

    def stop(self, owner: str) -> None: ...
    def warm(self) -> None: ...
    def free(self, reason: str) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def seats(tmp_path: Path) -> tuple[Seat, Seat]:
    made = []
    for name in ("one", "other"):
        folder = tmp_path / name
        make_tiny_tokenizer(folder)
        (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"")
        made.append(Seat(base_model=str(folder)))
    return made[0], made[1]


@pytest.fixture
def service(ws: Workspace) -> Iterator[ChatService]:
    chat = ChatService(ws, TwoVoices())
    yield chat
    chat.close()


def run(service: ChatService, seats: tuple[Seat, Seat], question: str = QUESTION) -> Duel:
    duel = blind.begin_duel(service, question, seats)
    ended, _ = list(blind.ask_both(service, duel))[-1]
    return ended


def test_each_side_is_drawn_by_chance(service: ChatService, seats: tuple[Seat, Seat]) -> None:
    drawn = [blind.begin_duel(service, QUESTION, seats).seats[0].base_model for _ in range(200)]
    first = drawn.count(seats[0].base_model)
    assert 50 < first < 150, "a fair coin fails this once in 10^12"


def test_the_vote_is_kept_for_who_stood_there(
    ws: Workspace, service: ChatService, seats: tuple[Seat, Seat]
) -> None:
    duel = run(service, seats)
    done = blind.cast_vote(ws, duel, "left", "Ada")
    (kept,) = feedback.list_votes(ws)
    assert kept == done.vote and kept.blinded
    assert kept.winner is not None and kept.winner.base_model == duel.seats[0].base_model
    with pytest.raises(UserError, match="there are no two answers to choose between"):
        blind.cast_vote(ws, done, "right", "Ada")


def test_the_audit_knows_who_asked_both(
    ws: Workspace, service: ChatService, seats: tuple[Seat, Seat], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_section, "account_name", lambda: "ada")
    first, second = (f"base:{seat.base_model}" for seat in seats)
    list(compare_section.ask(service, QUESTION, first, second))
    entries = audit.read_audit(ws).entries
    assert sorted(str(entry["event"]) for entry in entries) == ["answer", "answer", "question", "question"]
    assert {entry["user"] for entry in entries} == {"ada"}


def test_what_the_safety_layer_answers_is_not_voted_on(
    service: ChatService, seats: tuple[Seat, Seat]
) -> None:
    duel = run(service, seats, "My dad is not breathing")
    assert duel.answers is not None and not duel.can_vote
    assert "Nothing to vote on" in compare_section.show_duel(duel)


def test_nobody_is_compared_with_themselves(service: ChatService, seats: tuple[Seat, Seat]) -> None:
    with pytest.raises(UserError, match="the same one is chosen twice"):
        blind.begin_duel(service, QUESTION, (seats[0], seats[0]))
    with pytest.raises(UserError, match="there is no question"):
        blind.begin_duel(service, " \n", seats)


def test_a_base_model_answers_with_the_settings_of_its_adapter(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {
        "letters": ChatSettings("letters", "tiny", "Be kind."),
        None: ChatSettings(None, "tiny", "The default."),
    }
    monkeypatch.setattr(service, "settings_for", lambda adapter, base: known[adapter])
    settled = blind.settle_seats(service, [Seat(base_model="tiny"), Seat("letters", "tiny")])
    assert [(each.adapter, each.system_prompt) for each in settled] == [
        (None, "Be kind."), ("letters", "Be kind."),
    ]  # fmt: skip


def test_one_that_breaks_off_is_told_without_its_name(ws: Workspace, seats: tuple[Seat, Seat]) -> None:
    service = ChatService(ws, TwoVoices(broken=True))
    with pytest.raises(RunFailedError, match="SECRET"):
        run(service, seats)
    keys = [f"base:{seat.base_model}" for seat in seats]
    with pytest.raises(UserError) as told:
        list(compare_section.ask(service, QUESTION, *keys))
    assert str(told.value) == compare_section.BROKE_OFF


def test_what_is_drawn_before_the_vote_names_nobody(
    ws: Workspace, service: ChatService, seats: tuple[Seat, Seat]
) -> None:
    keys = [f"base:{seat.base_model}" for seat in seats]
    drawn = list(compare_section.ask(service, QUESTION, *keys))
    seen = "".join(str(values[1:]) for values in drawn)
    assert "Asthma is common." in seen
    for secret in ("000000000000", "111111111111", "base model", "adapter", "Loading"):
        assert secret not in seen
    revealed = compare_section.vote(ws, drawn[-1][0], "tie", "Ada")
    assert "one (base model) · " in revealed[1] and "other (base model) · " in revealed[1]
    assert "Saved: equally good" in revealed[3] and "not enough votes yet" in revealed[3].lower()


def test_at_first_an_adapter_meets_its_base_model(ws: Workspace) -> None:
    folder = ws.adapter("letters")
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "tiny"}', encoding="utf-8")
    first, second = compare_section.offer_seats(ws, None, None)
    assert (first["value"], second["value"]) == ("adapter:letters", "base:tiny")
    first, second = compare_section.offer_seats(ws, "base:starter", "adapter:letters")
    assert (first["value"], second["value"]) == ("base:starter", "adapter:letters")
