"""A server's models answer behind the same safety layer, and what goes wrong is said in our own words.

The server here is a real one of the same wire format, on a real socket; `transformers serve` is met in
tests/golden.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from medlora.config.schema import Config
from medlora.config.server import Server
from medlora.errors import UserError
from medlora.safety.audit import AuditLog
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_events import EngineEvent, Finished, Numbered, Question, Started, Text
from medlora.services.feedback import describe_answer
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_tokenizer
from tests.wire_server import Exchange, Reply, WireServer, saying, serve

SAYS = "Asthma is common. It can be treated well, with care. Ask your nurse."
EVIL = "Rest a little. You are not having a heart attack. The secret tail must never be seen."
CANARY = "CANARY of a patient"
ASKED = [{"role": "user", "content": "What is asthma?"}]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def _settings(url: str, model: str = "tiny", **more: object) -> ChatSettings:
    config = Config.model_validate(
        {
            "safety": {"system_prompt": "Be kind."},
            "inference": {"base_url": url, "served_models": [model], **more},
        }
    )
    return ChatService(Workspace.open()).settings_for_server(config, model)


def _ask(
    ws: Workspace, server: WireServer, turns: list[dict[str, str]] | None = None, **more: object
) -> ChatUpdate:
    service = ChatService(ws)
    return list(service.reply("chat-1", turns or ASKED, _settings(server.url, **more)))[-1]


# An ordinary answer


def test_a_servers_answer_grows_by_judged_sentences_under_a_label_that_promises_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDLORA_API_KEY", raising=False)
    with serve(saying(SAYS, tokens=17)) as server:
        updates = list(ChatService(ws).reply("chat-1", ASKED, _settings(server.url)))
        last, asked = updates[-1], server.asked[0]
    assert [update.delta for update in updates if update.delta] == [
        "Asthma is common. ",
        "It can be treated well, with care. ",
        "Ask your nurse.",
    ]
    host = server.url.removeprefix("http://").removesuffix("/v1")
    assert last.label == f"tiny at {host} · weights not verified"
    assert (last.text, last.tokens, last.truncated, last.error) == (SAYS, 17, False, None)
    assert last.seconds_to_first_token is not None and last.tokens_per_second is not None
    assert asked.body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is asthma?"},
    ]
    assert (asked.body["model"], asked.body["stream"], asked.body["max_tokens"]) == ("tiny", True, 256)
    assert "authorization" not in {name.lower() for name in asked.headers}


def test_a_rating_of_it_says_where_it_came_from(ws: Workspace) -> None:
    with serve(saying(SAYS)) as server:
        last = _ask(ws, server)
        kept = describe_answer(ASKED, last, _settings(server.url))
    host = server.url.removeprefix("http://").removesuffix("/v1")
    assert kept.label == f"tiny at {host} · weights not verified"
    assert kept.by_model


def test_the_key_goes_to_the_server_and_nowhere_else(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MEDLORA_API_KEY", "sk-canary-key")
    caplog.set_level(logging.DEBUG)
    with serve(saying(SAYS)) as server:
        last = _ask(ws, server)
    assert server.asked[0].headers["authorization"] == "Bearer sk-canary-key"
    kept = b"".join(path.read_bytes() for path in ws.home.rglob("*") if path.is_file())
    assert b"sk-canary-key" not in kept and "sk-canary-key" not in caplog.text
    assert "sk-canary-key" not in str(last.as_dict())


def test_what_a_server_says_is_judged_and_what_is_dangerous_never_gets_there(ws: Workspace) -> None:
    with serve(saying(EVIL)) as server:
        last = _ask(ws, server)
        assert (last.withheld, "secret tail" in last.text) == (True, False)
        crisis = _ask(ws, server, [{"role": "user", "content": "I want to kill myself"}])
        assert (crisis.level, crisis.action, len(server.asked)) == ("crisis", "block", 1)


def test_the_audit_names_the_server_and_claims_no_weights(ws: Workspace) -> None:
    with serve(saying(SAYS)) as server:
        _ask(ws, server)
    question, answer = AuditLog(ws.audit).entries()
    assert question["server"] == server.url.removeprefix("http://").removesuffix("/v1")
    assert (answer["base_model"], answer["weights"]) == ("tiny", "not verified")


# The many ways of saying the same


def _odd_stream(exchange: Exchange) -> None:
    """Keep-alives, Windows line ends, a thought, a letter cut in two, a line separator, no [DONE]."""
    exchange.begin()
    exchange.send(b": keep-alive\r\n\r\nevent: message\r\n")
    exchange.send(b'data: {"choices": [{"delta": {"role": "assistant", "content": null}}]}\r\n\r\n')
    exchange.send(b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n')
    whole = 'data: {"choices": [{"delta": {"content": "Ménière\u2028is one."}}]}\n\n'.encode()
    for at in range(0, len(whole), 5):
        exchange.send(whole[at : at + 5])
    exchange.send(b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n')


def test_a_stream_is_read_however_it_is_cut_and_decorated(ws: Workspace) -> None:
    with serve(_odd_stream) as server:
        last = _ask(ws, server)
    assert (last.text, last.truncated) == ("Ménière\u2028is one.", True)
    assert last.notices == ("The answer reached its longest allowed length and was cut off.",)


def test_a_server_that_does_not_stream_answers_in_one_piece(ws: Workspace) -> None:
    whole = {"model": "tiny-1", "choices": [{"message": {"content": SAYS}, "finish_reason": "stop"}]}
    with serve(lambda exchange: exchange.fail(200, whole)) as server:
        last = _ask(ws, server)
    assert (last.text, last.base_model) == (SAYS, "tiny-1")


def test_settings_that_a_server_does_not_take_are_left_out_one_after_another(ws: Workspace) -> None:
    def picky(exchange: Exchange) -> None:
        if exchange.body.keys() & {"repetition_penalty", "seed"}:
            exchange.fail(422, {"detail": f"Unexpected fields: {CANARY}"})
        else:
            saying(SAYS)(exchange)

    with serve(picky) as server:
        last = _ask(ws, server)
    assert last.text == SAYS
    assert last.notices == (
        "The server takes no repetition penalty: it was left out.",
        "The server takes no seed: it was left out, so the answer may differ next time.",
    )


def test_a_conversation_that_is_too_long_loses_its_oldest_turns_and_says_so(ws: Workspace) -> None:
    def small(exchange: Exchange) -> None:
        if len(exchange.body["messages"]) > 3:
            exchange.fail(400, {"error": {"message": "This model's maximum context length is 64 tokens."}})
        else:
            saying(SAYS)(exchange)

    turns = []
    for number in range(3):
        turns += [
            {"role": "user", "content": f"Question {number}?"},
            {"role": "assistant", "content": "Yes."},
        ]
    with serve(small) as server:
        last = _ask(ws, server, [*turns, *ASKED])
        assert [message["content"] for message in server.asked[-1].body["messages"]] == [
            "Be kind.",
            "What is asthma?",
        ]
    assert last.notices == (
        "The conversation is longer than the model can read: its oldest turns were left out.",
    )


def test_a_server_that_knows_no_end_is_cut_at_the_longest_length(ws: Workspace) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.begin()
        while True:
            exchange.say("word ")

    with serve(endless) as server:
        last = _ask(ws, server, max_new_tokens=8)
        assert server.hung_up.wait(20)
    assert last.truncated


# What goes wrong


def _refusing(status: int, body: object, **headers: str) -> Reply:
    return lambda exchange: exchange.fail(status, body, **headers)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (_refusing(401, {"error": CANARY}), "server: {host} wants a key (got 401); put it into the "
         "environment variable MEDLORA_API_KEY and start medlora again"),
        (_refusing(404, {"error": {"message": f"The model `{CANARY}` does not exist."}}),
         "server: {host} has no model of this name (got tiny); it offers small, large; correct "
         "inference.served_models"),
        (_refusing(429, CANARY), "server: {host} is busy (got 429); ask again in a moment"),
        (_refusing(307, "", Location="http://192.0.2.1/v1"), "server: {host} sends elsewhere (got 307), "
         "which is not followed; write the final address into inference.base_url"),
        (_refusing(400, {"error": CANARY}), "server: {host} has no model of this name (got tiny); it "
         "offers small, large; correct inference.served_models"),
    ],
)  # fmt: skip
def test_what_the_user_can_mend_is_said_in_our_own_words(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, reply: Reply, message: str
) -> None:
    monkeypatch.delenv("MEDLORA_API_KEY", raising=False)
    with serve(reply, models=["small", "large"]) as server, pytest.raises(UserError) as caught:
        _ask(ws, server)
    assert str(caught.value) == message.format(host=server.url.removeprefix("http://").removesuffix("/v1"))


def test_a_server_that_refuses_a_model_it_lists_is_left_with_its_own_log(ws: Workspace) -> None:
    with (
        serve(_refusing(422, {"error": CANARY}), models=["tiny"]) as server,
        pytest.raises(UserError) as caught,
    ):
        _ask(ws, server)
    host = server.url.removeprefix("http://").removesuffix("/v1")
    assert str(caught.value) == (
        f"server: {host} refuses the question however it is written; its own log says why"
    )


def test_a_key_that_is_not_accepted_is_not_repeated(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLORA_API_KEY", "sk-wrong")
    with (
        serve(_refusing(403, "no")) as server,
        pytest.raises(UserError, match="does not accept the key") as why,
    ):
        _ask(ws, server)
    assert "sk-wrong" not in str(why.value)
    monkeypatch.setenv("MEDLORA_API_KEY", "sk\nwrong")
    with serve(saying(SAYS)) as server, pytest.raises(UserError, match="holds characters that no key has"):
        _ask(ws, server)


def test_an_address_without_the_end_of_its_path_is_told_what_is_usual(ws: Workspace) -> None:
    with serve(saying(SAYS)) as server:
        server.url = server.url.removesuffix("/v1")
        with pytest.raises(UserError, match=r"there is no chat at .* usually ends in /v1"):
            _ask(ws, server)


def test_nobody_at_the_address_is_said_with_what_to_do(ws: Workspace) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(UserError) as caught:
            _ask(ws, WireServer(url))
    assert str(caught.value) == (
        f"server: nothing answers at {url}; start the server, or correct inference.base_url"
    )


def _cut(exchange: Exchange) -> None:
    exchange.begin()
    exchange.say("Asthma is common. It can")


def _error_event(exchange: Exchange) -> None:
    _cut(exchange)
    exchange.send(b'data: {"error": {"message": "' + CANARY.encode() + b'"}}\n\n')


@pytest.mark.parametrize(
    ("reply", "message", "kept"),
    [
        (_cut, "server: the answer broke off in the middle; ask again", "Asthma is common. "),
        (
            _error_event,
            "server: it reports an error in the middle of the answer; its own log says more",
            "Asthma is common. ",
        ),
        (
            _refusing(500, {"error": CANARY}),
            "server: {host} had an error of its own (got 500); its log says more",
            "",
        ),
        (
            _refusing(200, f"<html>{CANARY}</html>"),
            "server: the answer broke off in the middle; ask again",
            "",
        ),
        (
            _refusing(200, {"hello": CANARY}),
            "server: what it sends is no answer of OpenAI's interface; inference.base_url usually ends in "
            "/v1",
            "",
        ),
    ],
)
def test_a_broken_answer_keeps_what_was_judged_and_says_why(
    ws: Workspace, reply: Reply, message: str, kept: str
) -> None:
    with serve(reply) as server:
        last = _ask(ws, server)
    assert last.error == message.format(host=server.url.removeprefix("http://").removesuffix("/v1"))
    assert last.text == kept and last.done


# Stop and the line


def test_stop_hangs_up_on_a_server_that_says_nothing_at_all(ws: Workspace) -> None:
    reached, over = threading.Event(), threading.Event()

    def silent(exchange: Exchange) -> None:
        reached.set()
        over.wait(60)
        exchange.begin()
        for _ in range(1000):
            exchange.say("too late ")

    service = ChatService(ws)
    with serve(silent) as server:
        updates = cast(
            "Generator[ChatUpdate, None, None]", service.reply("chat-1", ASKED, _settings(server.url))
        )
        with closing(updates):
            threading.Thread(target=lambda: (reached.wait(30), service.stop("chat-1")), daemon=True).start()
            last = list(updates)[-1]
        over.set()
        assert server.hung_up.wait(20)
    assert (last.stopped, last.done, last.text) == (True, True, "")


def test_who_comes_later_sees_their_place_and_gets_their_own_answer(ws: Workspace) -> None:
    go_on, first_begun = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        exchange.begin()
        exchange.say("First. ")
        first_begun.set()
        go_on.wait(60)
        exchange.end()

    service = ChatService(ws)
    with serve(slow, saying("Second.")) as server:
        settings = _settings(server.url, served_at_once=1)
        ended: list[ChatUpdate] = []
        first = threading.Thread(target=lambda: ended.extend(service.reply("one", ASKED, settings)))
        first.start()
        assert first_begun.wait(30)
        places = []
        for update in service.reply("two", ASKED, settings):
            places.append(update.queue_place)
            if update.queue_place == 1:
                go_on.set()
        first.join(30)
    assert 1 in places
    assert (ended[-1].text.strip(), update.text) == ("First.", "Second.")


# Side by side


class _Here:
    """This machine's engine: it says one sentence for each speaker."""

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        for _, event in self.compare([question], owner):
            yield event

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        for number, _ in enumerate(questions):
            yield number, Started("here", None, "ab" * 6)
            yield number, Text("From this machine.", 4)
            yield number, Finished(stopped=False, tokens=4)

    def warm(self) -> None: ...
    def stop(self, owner: str) -> None: ...
    def free(self, reason: str) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def local(tmp_path: Path) -> ChatSettings:
    folder = tmp_path / "model"
    make_tiny_tokenizer(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    return ChatSettings(base_model=str(folder))


def test_this_machine_and_a_server_answer_side_by_side(ws: Workspace, local: ChatSettings) -> None:
    service = ChatService(ws, _Here())
    with serve(saying(SAYS)) as server:
        served = _settings(server.url)
        last = list(service.compare("chat-1", ASKED, [served, local, replace(served, system_prompt="")]))[-1]
    assert [update.text for update in last] == [SAYS, "From this machine.", SAYS]
    assert [update.server is None for update in last] == [False, True, False]
    assert all(update.done and update.error is None for update in last)


def test_a_server_that_is_not_there_leaves_the_other_answer_alone(ws: Workspace, local: ChatSettings) -> None:
    service = ChatService(ws, _Here())
    with serve(_refusing(500, "no")) as server:
        last = list(service.compare("chat-1", ASKED, [local, _settings(server.url)]))[-1]
    assert (last[0].text, last[0].error) == ("From this machine.", None)
    assert last[1].error is not None and "had an error of its own" in last[1].error


# What may leave this machine


def test_another_machine_is_asked_only_where_that_was_allowed(ws: Workspace) -> None:
    elsewhere = Server("https://gpu.example/v1", ("tiny",))
    settings = replace(ChatSettings(base_model="tiny"), server=elsewhere)
    with pytest.raises(UserError, match=r"gpu\.example is another machine; set inference\.allow_remote"):
        list(ChatService(ws).reply("chat-1", ASKED, settings))
    assert settings.remote_host == "gpu.example"


def test_a_public_page_asks_no_server(ws: Workspace) -> None:
    with (
        serve(saying(SAYS)) as server,
        pytest.raises(UserError, match="this page is public; it asks no server"),
    ):
        list(ChatService(ws, public=True).reply("chat-1", ASKED, _settings(server.url)))
    assert server.asked == []


def test_a_model_that_the_configuration_does_not_name_is_refused(ws: Workspace) -> None:
    config = Config.model_validate(
        {"inference": {"base_url": "http://[::1]:1/v1", "served_models": ["a", "b"]}}
    )
    service = ChatService(ws)
    with pytest.raises(UserError, match=r"does not name it \(got c\); it has a, b"):
        service.settings_for_server(config, "c")
    with pytest.raises(UserError, match=r"names no server; set inference\.base_url"):
        service.settings_for_server(Config(), "a")
