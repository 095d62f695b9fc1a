"""A chat turn of the page: what is drawn, and what is asked first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medlora.errors import UserError
from medlora.services import configure
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_events import EngineEvent, Finished, Question, Started, Text
from medlora.services.chat_log import Conversation
from medlora.ui import chat_speakers, chat_turns
from medlora.ui.chat_turns import Desk
from medlora.ui.chat_view import describe_wait, show_bubbles, show_foot
from medlora.ui.draft import ServerWatch
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_tokenizer


class SpokenEngine:
    """An engine that says what it is told to say; it takes the place of a model."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.asked: list[Question] = []

    def generate(self, question: Question, owner: str) -> Iterator[EngineEvent]:
        self.asked.append(question)
        yield Started("starter", None, "abcd1234")
        for piece in self.pieces:
            yield Text(piece, 1)
        yield Finished(stopped=False, tokens=len(self.pieces), tokens_per_second=20.0)

    def stop(self, owner: str) -> None: ...
    def free(self, reason: str) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def fields_of(service: ChatService) -> list[Any]:
    return chat_turns.describe_speaker(chat_speakers.settings_of(service, "base:starter"))[1:]


def run_turn(desk: Desk, message: str) -> list[Any]:
    return list(desk.send(message, None, "base:starter", *fields_of(desk.service)))


def test_an_emergency_is_answered_with_the_fixed_text_and_no_model(workspace: Workspace) -> None:
    engine = SpokenEngine("never")
    desk = Desk(workspace, ChatService(workspace, engine))
    last = run_turn(desk, "dad went grey and sweaty and is clutching his chest")[-1]
    bubbles = last[1]
    assert engine.asked == []
    assert "no model was asked" in bubbles[-1]["content"]
    assert 'class="ml-level ml-emergency"' in bubbles[-1]["content"]
    desk.service.close()


def test_a_message_that_names_a_person_is_asked_about_first(workspace: Workspace) -> None:
    desk = Desk(workspace, ChatService(workspace, SpokenEngine("x")))
    (asked,) = run_turn(desk, "My patient Mr. John Smith, MRN 12345678, has a cough")
    assert asked[5]["visible"] is True
    assert "This may identify a person" in asked[6] and "12345678" not in asked[6]


def test_an_empty_message_does_nothing(workspace: Workspace) -> None:
    desk = Desk(workspace, ChatService(workspace, SpokenEngine("x")))
    (skipped,) = run_turn(desk, "   ")
    assert skipped == {"__type__": "update"}


def test_words_of_people_and_models_are_inert() -> None:
    said = '<img src="https://evil.example/p.png"> ![x](https://evil.example/q.png)'
    log = Conversation("c").add("user", said).add("assistant", said, update=ChatUpdate(text=said)).lines
    for bubble in show_bubbles(log):
        assert "<img" not in bubble["content"] and "![" not in bubble["content"].replace("!&#91;", "")
        assert "https://" not in bubble["content"]


def test_the_foot_says_who_answered_and_why() -> None:
    update = ChatUpdate(
        text="x", level="caution", base_model="starter", weights="abcd1234", tokens=57,
        notes=("Ask a professional.",),
        seconds_to_first_token=0.84, tokens_per_second=20.6, truncated=True,
    )  # fmt: skip
    foot = show_foot(update)
    assert "starter · abcd1234 · 57 tokens · first word after 0.8 s · 21 tokens/s" in foot
    assert "Ask a professional." in foot
    assert 'ml-caution">caution</span>' in foot


def test_waiting_is_said_in_words() -> None:
    assert describe_wait(ChatUpdate(queue_place=2)) == "In the queue, place 2…"
    assert describe_wait(ChatUpdate(stage="loading_model")) == "Loading the model…"
    assert (
        describe_wait(ChatUpdate(stage="fetching the starter", fraction=0.5)) == "Fetching the starter 50 %…"
    )
    assert describe_wait(ChatUpdate()) == "Thinking…"


def test_a_conversation_hands_on_roles_and_words_alone() -> None:
    talk = Conversation("c").add("user", "a").add("assistant", "b", update=ChatUpdate(text="b"))
    assert talk.turns() == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_a_chat_obeys_the_safety_settings_of_the_configure_tab(workspace: Workspace) -> None:
    service = ChatService(workspace, SpokenEngine("x"))
    desk = Desk(workspace, service)
    assert desk.banner(None) == ""
    configure.save_draft(
        workspace, "base_template: starter\nsafety: {country: GB, content_filter: false}\n", "starter"
    )
    assert "The content filter is off" in desk.banner("base:starter")
    last = run_turn(desk, "dad went grey and sweaty and is clutching his chest")[-1]
    assert "Call 999 now." in last[1][-1]["content"]


SERVER = """
model:
  base_model_name: starter
inference:
  base_url: {url}
  served_models: [tiny, /srv/models/large]
  allow_remote: true
"""


def test_a_servers_models_are_offered_beside_those_of_this_machine(workspace: Workspace) -> None:
    assert [key for _, key in chat_speakers.chat_speakers(workspace)] == ["base:starter"]
    configure.save_draft(workspace, SERVER.format(url="http://127.0.0.1:9/v1"))
    assert chat_speakers.chat_speakers(workspace)[1:] == [
        ("tiny at 127.0.0.1:9", "served:tiny"),
        ("large at 127.0.0.1:9", "served:/srv/models/large"),
    ]
    settings = chat_speakers.settings_of(ChatService(workspace), "served:tiny")
    assert settings.server is not None and settings.base_model == "tiny"
    assert (chat_turns.show_banners(settings), settings.remote_host) == ([], "")


def test_the_page_says_where_words_go_before_they_do(workspace: Workspace) -> None:
    watch = ServerWatch(workspace)
    assert watch.remote_host() == ""
    configure.save_draft(workspace, SERVER.format(url="https://gpu.example/v1"))
    assert watch.remote_host() == "gpu.example"
    desk = Desk(workspace, ChatService(workspace))
    settings = chat_speakers.settings_of(desk.service, "served:tiny")
    assert "Remote: gpu.example" in "".join(chat_turns.show_banners(settings))
    asked = next(desk.send("Mr John Smith, born 3 March 1950, has asthma", None, "served:tiny"))
    assert "It would leave this machine for gpu.example." in asked[-1]
    configure.save_draft(workspace, "broken: [")
    assert watch.remote_host() == ""
    with pytest.raises(UserError, match="the configuration has errors"):
        chat_speakers.settings_of(desk.service, "served:tiny")


def test_a_model_in_a_folder_is_offered_by_its_short_name_with_the_folder_below(tmp_path: Path) -> None:
    names = ["/srv/one/phi", "/srv/two/phi", "/srv/two/qwen", "owner/model"]
    short = [chat_speakers.short_among(name, names) for name in names]
    assert short == ["one/phi", "two/phi", "qwen", "owner/model"]
    settings = ChatSettings(base_model=str(tmp_path / "phi"))
    assert f"Its base model lies in {tmp_path / 'phi'}." in "".join(chat_turns.show_banners(settings))


# Side by side


def make_model_folder(folder: Path) -> Path:
    """A folder that looks like a model."""
    make_tiny_tokenizer(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


class TwoVoices(SpokenEngine):
    """Each speaker says a text of its own, in turn."""

    def compare(self, questions: list[Question], owner: str) -> Iterator[tuple[int, EngineEvent]]:
        self.asked += questions
        for number, _ in enumerate(questions):
            yield number, Started("starter", None, f"{number}" * 8)
        for number, _ in enumerate(questions):
            yield number, Text(self.pieces[number], 1)
        for number, _ in enumerate(questions):
            yield number, Finished(stopped=False, tokens=3)


def test_several_answer_in_columns_and_each_goes_on_from_its_own_words(workspace: Workspace) -> None:
    engine = TwoVoices("```\nAsthma is common.", "Ask your **nurse**.")
    desk = Desk(workspace, ChatService(workspace, engine))
    seats = [f"base:{make_model_folder(workspace.home / name)}" for name in ("one", "other")]
    steps = list(desk.send("What is asthma?", None, seats, *fields_of(desk.service)))
    talk, bubbles = steps[-1][0], steps[-1][1]
    shown = bubbles[-1]["content"]
    assert shown.count('<div class="ml-side">') == 2 and "<h4>one (base model)</h4>" in shown
    assert shown.index("Asthma is common.\n```") < shown.index("<h4>other (base model)</h4>")
    said = ["```\nAsthma is common.", "Ask your **nurse**."]
    assert [side.content for side in talk.lines[-1].sides] == said
    list(desk.send("And now?", talk, seats, *fields_of(desk.service)))
    assert [question.messages[2]["content"] for question in engine.asked[2:]] == said


def test_an_emergency_is_told_once_for_each_and_asks_nobody(workspace: Workspace) -> None:
    engine = TwoVoices("never", "never")
    desk = Desk(workspace, ChatService(workspace, engine))
    steps = list(
        desk.send("My dad is not breathing", None, ["base:starter", "base:x"], *fields_of(desk.service))
    )
    assert engine.asked == [] and steps[-1][1][-1]["content"].count("ml-fixed-emergency") == 2


def test_a_comparison_asks_each_once_and_not_one_alone() -> None:
    assert chat_turns.read_seats("base:a", False, ["base:b"]) == "base:a"
    assert chat_turns.read_seats("base:a", True, ["base:b", "base:a", "base:b"]) == ["base:a", "base:b"]
    with pytest.raises(UserError, match="choose who answers beside it"):
        chat_turns.read_seats("base:a", True, ["base:a"])


def test_beside_an_adapter_its_own_base_is_proposed(workspace: Workspace) -> None:
    offered = chat_speakers.offer_others(workspace, None, ["base:gone"])
    assert offered["value"] == ["base:starter"]
    assert chat_speakers.offer_others(workspace, "base:starter", [])["choices"] == []
