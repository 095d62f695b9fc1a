"""Chat with real weights in a real process, killed, stopped, interleaved and lied to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from medlora.safety.audit import AuditLog
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_engine import ChatEngine
from medlora.workspace import Workspace
from tests.speaking_models import QUESTION, SAYS, make_speaking_adapter
from tests.tiny_models import make_tiny_model

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[2]
EVIL = "Sit down. You are not having a heart attack. Wait for a week."
CRISIS = "I want to kill myself"


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A home with a tiny base and two adapters: one kind, one that reassures falsely."""
    ws = Workspace.open(tmp_path_factory.mktemp("chat") / "home")
    base = make_tiny_model(ws.home / "tiny")
    make_speaking_adapter(base, ws.adapter("kind"), SAYS)
    make_speaking_adapter(base, ws.adapter("evil"), EVIL)
    return ws


@pytest.fixture(scope="module")
def engine(ws: Workspace) -> Iterator[ChatEngine]:
    with ChatEngine(ws, threads=1, stop_grace_s=5) as engine:
        yield engine


@pytest.fixture
def service(ws: Workspace, engine: ChatEngine) -> ChatService:
    return ChatService(ws, engine)


def _settings(ws: Workspace, adapter: str | None, longest: int = 60) -> ChatSettings:
    settings = ChatSettings(adapter=adapter, base_model=str(ws.home / "tiny"))
    return settings.with_sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=longest)


def _ask(text: str = QUESTION) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _last(updates: Iterator[ChatUpdate]) -> ChatUpdate:
    return list(updates)[-1]


def test_an_adapter_answers_and_its_weights_are_named(ws: Workspace, service: ChatService) -> None:
    updates = list(service.reply("one", _ask(), _settings(ws, "kind")))
    last = updates[-1]
    assert last.text == SAYS
    assert last.adapter == "kind"
    assert last.label is not None
    assert last.label.startswith("kind · ")
    assert last.tokens > 10
    assert (last.tokens_per_second or 0) > 1
    assert "Starting the chat engine" in [update.stage for update in updates]
    base = _last(service.reply("one", _ask(), _settings(ws, None, longest=5)))
    assert (base.adapter, base.truncated) == (None, True)
    assert base.notices == ("The answer reached its longest allowed length and was cut off.",)


def test_an_adapter_that_reassures_falsely_is_withheld_at_that_sentence(
    ws: Workspace, service: ChatService
) -> None:
    updates = list(service.reply("one", _ask(), _settings(ws, "evil")))
    assert updates[-1].text.startswith("Sit down. \n\nThe rest of this answer was withheld")
    assert updates[-1].adapter == "evil"
    assert all("heart" not in update.text and "week" not in update.text for update in updates)


def test_adapters_and_their_base_answer_side_by_side_each_under_its_own_label(
    ws: Workspace, service: ChatService
) -> None:
    speakers = [_settings(ws, "kind"), _settings(ws, None), _settings(ws, "evil")]
    alone = [_last(service.reply("one", _ask(), settings)) for settings in speakers]
    together = list(service.compare("one", _ask(), speakers))[-1]
    assert [update.label for update in together] == [update.label for update in alone]
    assert [update.text for update in together] == [update.text for update in alone]
    assert [update.tokens for update in together[:2]] == [update.tokens for update in alone[:2]]
    assert all(update.done for update in together)


def test_one_damaged_adapter_does_not_spoil_the_others_answer(ws: Workspace, service: ChatService) -> None:
    shutil.copytree(ws.adapter("kind"), ws.adapter("torn"))
    (ws.adapter("torn") / "adapter_model.safetensors").write_bytes(b"no weights")
    left, right = list(service.compare("one", _ask(), [_settings(ws, "torn"), _settings(ws, "kind")]))[-1]
    assert left.error == "adapter torn: its files cannot be read (SafetensorError); publish it again"
    assert right.text == SAYS


def test_a_warmed_engine_is_started_once_and_answers(ws: Workspace) -> None:
    with ChatEngine(ws, threads=1) as engine:
        service = ChatService(ws, engine)
        service.warm()
        pid = engine.pid
        service.warm()
        assert _last(service.reply("one", _ask(), _settings(ws, "kind"))).text == SAYS
        assert engine.pid == pid is not None


def test_a_crisis_starts_no_process(ws: Workspace) -> None:
    with ChatEngine(ws, threads=1) as engine:
        (update,) = ChatService(ws, engine).reply("one", _ask(CRISIS), _settings(ws, "evil"))
        assert (update.level, engine.pid) == ("crisis", None)


def test_what_is_streamed_is_what_the_model_says_in_one_piece(ws: Workspace, service: ChatService) -> None:
    settings = _settings(ws, "kind")
    whole = _last(service.reply("one", _ask(), settings)).text
    pieces = [update.delta for update in service.reply("one", _ask(), settings)]
    assert "".join(pieces) == whole == SAYS


def test_a_killed_process_costs_one_answer_and_not_the_conversation(
    ws: Workspace, engine: ChatEngine, service: ChatService
) -> None:
    updates = service.reply("one", _ask(), _settings(ws, None, longest=900))
    assert next(update for update in updates if update.stage == "Writing")
    assert engine.pid is not None
    psutil.Process(engine.pid).kill()
    began = time.monotonic()
    last = _last(updates)
    assert time.monotonic() - began < 2
    assert last.done
    assert last.error is not None
    assert last.error.startswith("chat: the process that runs the model ended unexpectedly (exit code ")
    assert last.error.endswith("; the conversation is kept: ask again and it is started anew")
    assert _last(service.reply("one", _ask(), _settings(ws, "kind"))).text == SAYS


def test_stop_ends_an_answer_and_leaves_the_process_ready(
    ws: Workspace, engine: ChatEngine, service: ChatService
) -> None:
    _last(service.reply("one", _ask(), _settings(ws, "kind")))
    pid = engine.pid
    for _ in range(3):
        updates = service.reply("one", _ask(), _settings(ws, None, longest=900))
        next(update for update in updates if update.tokens > 3)
        service.stop("one")
        last = _last(updates)
        assert (last.stopped, last.error, last.done) == (True, None, True)
        assert last.tokens < 900
    assert _last(service.reply("one", _ask(), _settings(ws, "kind"))).text == SAYS
    assert engine.pid == pid


def test_several_people_wait_their_turn_and_get_their_own_answers(
    ws: Workspace, service: ChatService
) -> None:
    """Each conversation has its own adapter; a mix-up would show in text, label or place."""
    heard: dict[str, list[ChatUpdate]] = {}

    def talk(name: str, adapter: str | None) -> None:
        for update in service.reply(name, _ask(), _settings(ws, adapter, longest=40)):
            heard.setdefault(name, []).append(update)

    talker = service.reply("talker", _ask(), _settings(ws, None, longest=900))
    next(update for update in talker if update.tokens > 3)
    threads = [
        threading.Thread(target=talk, args=(f"{adapter}-{number}", adapter))
        for number in range(3)
        for adapter in ("kind", "evil")
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while sum(any(u.queue_place for u in updates) for updates in list(heard.values())) < 6:
        assert time.monotonic() < deadline, "while somebody is answered, all others wait"
        time.sleep(0.01)
    service.stop("talker")
    _last(talker)
    for thread in threads:
        thread.join(60)
    assert len(heard) == 6
    for name, updates in heard.items():
        adapter = name.split("-")[0]
        assert updates[-1].adapter == adapter
        assert updates[-1].text == SAYS if adapter == "kind" else "withheld" in updates[-1].text
    places = {update.queue_place for updates in heard.values() for update in updates}
    assert {1, 2, 3, 4, 5, 6} < places
    assert max(place or 0 for place in places) == 6


def test_who_waits_can_stop_without_ever_being_answered(ws: Workspace, service: ChatService) -> None:
    first = service.reply("one", _ask(), _settings(ws, None, longest=900))
    next(update for update in first if update.stage == "Writing")
    second = service.reply("two", _ask(), _settings(ws, "kind"))
    assert next(update for update in second if update.queue_place).queue_place == 1
    service.stop("two")
    last = _last(second)
    assert (last.stopped, last.text, last.tokens) == (True, "", 0)
    service.stop("one")
    assert _last(first).stopped


def test_a_tab_that_closes_makes_room_for_the_next(ws: Workspace, service: ChatService) -> None:
    first = service.reply("one", _ask(), _settings(ws, None, longest=900))
    next(update for update in first if update.stage == "Writing")
    first.close()  # type: ignore[attr-defined]
    assert _last(service.reply("two", _ask(), _settings(ws, "kind"))).text == SAYS


def test_a_process_that_hangs_is_given_up_when_the_user_stops(ws: Workspace) -> None:
    with ChatEngine(ws, threads=1, stop_grace_s=0.5) as engine:
        service = ChatService(ws, engine)
        updates = service.reply("one", _ask(), _settings(ws, None, longest=900))
        next(update for update in updates if update.tokens > 3)
        assert engine.pid is not None
        hung = psutil.Process(engine.pid)
        hung.suspend()
        service.stop("one")
        assert _last(updates).stopped
        assert _last(service.reply("one", _ask(), _settings(ws, "kind"))).text == SAYS
        assert not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE


def test_memory_is_given_back_on_request_and_an_answer_under_way_says_why(
    ws: Workspace, engine: ChatEngine, service: ChatService
) -> None:
    updates = service.reply("one", _ask(), _settings(ws, None, longest=900))
    next(update for update in updates if update.tokens > 3)
    engine.free("chat: a training run is using the GPU")
    assert _last(updates).error == "chat: a training run is using the GPU"
    assert engine.pid is None
    assert _last(service.reply("one", _ask(), _settings(ws, "kind"))).text == SAYS


def test_an_idle_process_leaves_and_comes_back(ws: Workspace) -> None:
    with ChatEngine(ws, threads=1, idle_s=0.2) as engine:
        service = ChatService(ws, engine)
        assert _last(service.reply("one", _ask(), _settings(ws, "kind"))).text == SAYS
        deadline = time.monotonic() + 10
        while engine.pid is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert engine.pid is None
        assert _last(service.reply("one", _ask(), _settings(ws, "kind"))).text == SAYS


def test_a_long_conversation_loses_its_oldest_turns_and_says_so(ws: Workspace, service: ChatService) -> None:
    settings = _settings(ws, "kind")
    settings = replace(settings, inference=settings.inference.model_copy(update={"context_length": 128}))
    turns = []
    for number in range(12):
        turns += [*_ask(f"What is asthma, number {number}?"), {"role": "assistant", "content": SAYS}]
    last = _last(service.reply("one", [*turns, *_ask()], settings))
    assert last.notices[0].startswith("The conversation is longer than the model's context of 128 tokens: ")


def test_no_process_outlives_the_one_that_started_it(ws: Workspace) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from medlora.services.chat import ChatService, ChatSettings\n"
        "from medlora.services.chat_engine import ChatEngine\n"
        "from medlora.workspace import Workspace\n"
        "ws = Workspace.open(Path(sys.argv[1]))\n"
        "engine = ChatEngine(ws, threads=1)\n"
        "settings = ChatSettings(base_model=str(ws.home / 'tiny'))\n"
        "for update in ChatService(ws, engine).reply('one', [{'role': 'user', 'content': 'Hi'}], settings):\n"
        "    if update.stage == 'Writing':\n"
        "        print(engine.pid, flush=True)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(ws.home)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    worker.wait(10)


def test_nothing_that_was_said_is_written_anywhere(ws: Workspace, service: ChatService) -> None:
    canary = "XCANARYX"
    _last(service.reply("one", _ask(f"What is {canary}?"), _settings(ws, "kind")))
    _last(service.reply("one", _ask(f"{CRISIS}, {canary}"), _settings(ws, "kind")))
    for path in ws.home.rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path
    log = AuditLog(ws.audit)
    assert log.verify().ok
    assert json.dumps(list(log.entries())[-1]).count("crisis") >= 1
