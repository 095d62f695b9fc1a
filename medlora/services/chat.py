"""Chat: the only way from a model to any screen.

A message is assessed before any model sees it; an answer passes the stream guard before anyone sees it;
both are audited. Whatever fails on the way fails closed: a fixed text, and no model.

Covered: every caller (page, command line, endpoint), forged roles, stop, a closed tab, a dying engine,
turns that were kept from the model once and must not reach it later as history.
Not covered: what a model says that is wrong without looking dangerous.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from medlora.config.schema import Config
from medlora.config.server import server_of
from medlora.dataset.phi import find_phi
from medlora.errors import RunFailedError, UserError
from medlora.models.files import ModelFiles
from medlora.services import adapters
from medlora.services.chat_audit import ChatAudit
from medlora.services.chat_board import Board
from medlora.services.chat_engine import ChatEngine
from medlora.services.chat_engines import Engines
from medlora.services.chat_events import AnswerEngine, Finished, Numbered, Question, ServedModel
from medlora.services.chat_model import (
    StoppedError,
    hold_weights,
    prepare_model,
    read_folders,
    training_device,
)
from medlora.services.chat_safety import join_safety
from medlora.services.chat_speaker import Speaker
from medlora.services.chat_turn import ChatSettings, ChatUpdate, TraceLine, Turns, read_conversation
from medlora.services.server_engine import ServerEngine
from medlora.workspace import Workspace

__all__ = ["MOST_SPEAKERS", "ChatService", "ChatSettings", "ChatUpdate", "TraceLine"]

_CPU_SHARED = "A training run is using this machine's processor: answers take longer while it goes on."
MOST_SPEAKERS = 6
_GPU_TAKEN = "chat: a training run is using the GPU; ask again when it has ended, or stop it"


class ChatService:
    """Answers conversations; one for the whole app. What belongs to a conversation is passed in each time."""

    def __init__(self, ws: Workspace, engine: AnswerEngine | None = None, *, public: bool = False) -> None:
        """public: anybody may write here, so what may identify a person is not taken."""
        self._public = public
        self._ws = ws
        self._engine = Engines(engine or ChatEngine(ws), ServerEngine())
        self._audit = ChatAudit(ws)
        self._lock = threading.Lock()
        self._active: dict[str, threading.Event] = {}

    @property
    def workspace(self) -> Workspace:
        return self._ws

    @property
    def public(self) -> bool:
        """Whether anybody may write here; then nothing is kept."""
        return self._public

    def settings_for(
        self,
        adapter: str | None = None,
        base_model: str = "starter",
        safety: Mapping[str, Any] | None = None,
    ) -> ChatSettings:
        """The settings a chat begins with: the adapter's own configuration, else the defaults.

        safety: the safety settings in force here; an adapter obeys them besides its own, a base model alone.
        Raises: NotFoundError; UserError for a configuration that this version cannot read.
        """
        if adapter is None:
            plain = ChatSettings.from_config(Config(), None, base_model)
            return plain if safety is None else replace(plain, safety=dict(safety))
        card = adapters.show(self._ws, adapter)
        try:
            config = Config.model_validate(dict(card.config))
        except ValidationError:
            raise UserError(
                f"adapter {adapter}: its configuration was written by another version; train it again"
            ) from None
        own = ChatSettings.from_config(config, adapter, card.base_model)
        return own if safety is None else replace(own, safety=join_safety(own.safety, safety))

    def settings_for_server(self, config: Config, model: str) -> ChatSettings:
        """The settings of a model that the configuration's server offers.

        Raises: UserError where there is no such server or model, or it may not be asked from here.
        """
        server = server_of(config.inference)
        if server is None:
            raise UserError("chat: the configuration names no server; set inference.base_url")
        if not server.models:
            raise UserError("chat: inference.served_models is empty; name a model that the server offers")
        if model not in server.models:
            names = ", ".join(server.models)
            raise UserError(f"chat: inference.served_models does not name it (got {model}); it has {names}")
        settings = replace(ChatSettings.from_config(config, None, model), server=server)
        self._check_server(settings)
        return settings

    def reply(self, chat_id: str, turns: Turns, settings: ChatSettings) -> Iterator[ChatUpdate]:
        """The reply to the last turn, growing; closing the iterator stops it.

        The last update has `done`. If the engine dies, what was judged stays and `error` says why.
        Raises: UserError for what the user can mend.
        """
        with closing(self._answer(chat_id, ((turns, settings),))) as updates:
            for (update,) in updates:
                yield update

    def compare(
        self, chat_id: str, turns: Turns, settings: Sequence[ChatSettings]
    ) -> Iterator[tuple[ChatUpdate, ...]]:
        """One question answered by several speakers side by side, all growing together.

        Each item holds the replies so far in the order of `settings`; in the last one all are done. Each
        reply is judged by its own settings, carries the label of the weights that spoke, and has an `error`
        of its own where only it failed. `stop(chat_id)` and closing the iterator stop them all.
        Raises: UserError for what the user can mend.
        """
        return self.compare_conversations(chat_id, [(turns, each) for each in settings])

    def compare_conversations(
        self, chat_id: str, asked: Sequence[tuple[Turns, ChatSettings]]
    ) -> Iterator[tuple[ChatUpdate, ...]]:
        """The same where each speaker reads a conversation of its own, such as its own earlier answers."""
        if not 1 <= len(asked) <= MOST_SPEAKERS:
            raise UserError(
                f"chat: side by side, 1 to {MOST_SPEAKERS} can answer (got {len(asked)}); choose fewer"
            )
        return self._answer(chat_id, asked)

    def warm(self) -> None:
        """Start the engine in the background, for instance when a chat is opened; returns at once.

        A GPU that a training run uses is left alone.
        """
        if training_device(self._ws) in (None, "cpu"):
            self._engine.warm()

    def stop(self, chat_id: str) -> None:
        """Stop this conversation's answer; nothing happens if there is none."""
        with self._lock:
            stopped = self._active.get(chat_id)
        if stopped is not None:
            stopped.set()
            self._engine.stop(chat_id)

    def make_room(self) -> bool:
        """Give the GPU to a training run that is going; whether there was one.

        To be called by whoever starts or supervises runs.
        """
        if training_device(self._ws) in (None, "cpu"):
            return False
        self._engine.free(_GPU_TAKEN)
        return True

    def close(self) -> None:
        """End the engine."""
        self._engine.close()

    def _begin(self, chat_id: str) -> threading.Event:
        with self._lock:
            if chat_id in self._active:
                raise UserError("chat: this conversation is still being answered; wait or press Stop")
            self._active[chat_id] = threading.Event()
            return self._active[chat_id]

    def _answer(
        self, chat_id: str, asked: Sequence[tuple[Turns, ChatSettings]]
    ) -> Generator[tuple[ChatUpdate, ...], None, None]:
        speakers = [Speaker(chat_id, turns, settings, self._audit) for turns, settings in asked]
        stopped = self._begin(chat_id)
        verdict = "cancelled"
        try:
            for speaker in speakers:
                speaker.judge()
            board = Board(speakers)
            if not board.done:
                self._refuse_personal(asked)
                yield board.show()
                yield from self._speak(chat_id, board, stopped)
            yield board.show()
        except UserError:
            verdict = "failed"
            raise
        finally:
            for speaker in speakers:
                speaker.abandon(verdict)
            with self._lock:
                self._active.pop(chat_id, None)

    def _check_server(self, settings: ChatSettings) -> None:
        """Why here too: whatever calls, nothing leaves this machine unless it was allowed to."""
        server = settings.server
        if server is None:
            return
        if self._public:
            raise UserError("chat: this page is public; it asks no server")
        if not server.may_be_asked:
            raise UserError(
                f"chat: {server.host} is another machine; set inference.allow_remote if conversations may go "
                "there"
            )

    def _refuse_personal(self, asked: Sequence[tuple[Turns, ChatSettings]]) -> None:
        """Why after the judgement: whoever is in danger is told where to call, whatever else they wrote."""
        texts = [turn["content"] for turns, _ in asked for turn in read_conversation(turns)[-1:]]
        kinds = {span.kind.replace("_", " ") for text in texts for span in find_phi(text)}
        if self._public and kinds:
            raise UserError(
                f"chat: this may identify a person ({', '.join(sorted(kinds))}), and this page is public; "
                "take it out and send again"
            )

    def _speak(
        self, chat_id: str, board: Board, stopped: threading.Event
    ) -> Iterator[tuple[ChatUpdate, ...]]:
        """What to show while models speak; at the end every reply is complete."""
        try:
            with ExitStack() as held:
                questions = yield from self._prepare(board, stopped, held)
                self._check_device(board)
                yield board.show()
                with closing(self._listen(questions, chat_id)) as events:
                    for of, event in events:
                        if board.hear(of, event) and not board.done:
                            yield board.show()
                        if board.done:
                            break
        except StoppedError:
            board.hear(None, Finished(stopped=True))
        except RunFailedError as error:
            board.break_off(str(error))
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - fails closed: nothing that was not judged goes out
            board.fail_closed(error)
        board.finish()

    def _prepare(
        self, board: Board, stopped: threading.Event, held: ExitStack
    ) -> Generator[tuple[ChatUpdate, ...], None, list[Question]]:
        """The questions to ask, with their weights at hand and kept from deletion meanwhile."""
        questions = []
        for speaker in board.asked:
            if (server := speaker.settings.server) is not None:
                self._check_server(speaker.settings)
                served = ServedModel(speaker.settings.base_model, server)
                questions.append(Question(served, None, speaker.messages(), speaker.sampling()))
                continue
            card = held.enter_context(hold_weights(self._ws, speaker.settings))
            name = card.base_model if card else speaker.settings.base_model
            for item in prepare_model(self._ws, name, stopped.is_set):
                if isinstance(item, ModelFiles):
                    eight_bit = speaker.settings.inference.eight_bit
                    base, adapter = read_folders(card, item, eight_bit=eight_bit)
                    questions.append(Question(base, adapter, speaker.messages(), speaker.sampling()))
                else:
                    board.report(*item)
                    yield board.show()
        if len(questions) < len(board.asked) or stopped.is_set():
            raise StoppedError
        return questions

    def _listen(self, questions: list[Question], chat_id: str) -> Generator[Numbered, None, None]:
        if len(questions) > 1:
            yield from self._engine.compare(questions, chat_id)
            return
        with closing(self._engine.generate(questions[0], chat_id)) as events:
            for event in events:
                yield None, event

    def _check_device(self, board: Board) -> None:
        """One GPU, one owner: chat steps back while a run uses it; on a CPU both go on."""
        if all(speaker.settings.server for speaker in board.asked):
            return
        device = training_device(self._ws)
        if device == "cpu":
            board.notice(_CPU_SHARED)
        elif device is not None:
            self._engine.free(_GPU_TAKEN)
            raise RunFailedError(_GPU_TAKEN)
