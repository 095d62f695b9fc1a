"""Chat: the only way from a model to any screen.

A message is assessed before any model sees it; an answer passes the stream guard before anyone sees it;
both are audited. Whatever fails on the way fails closed: a fixed text, and no model.

Covered: every caller (page, command line, endpoint), forged roles, stop, a closed tab, a dying engine,
turns that were kept from the model once and must not reach it later as history.
Not covered: what a model says that is wrong without looking dangerous.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from pydantic import ValidationError

from medlora.config.schema import Config
from medlora.errors import RunFailedError, UserError
from medlora.models.files import ModelFiles
from medlora.safety.assessment import assess
from medlora.safety.decision import Decision
from medlora.safety.policy import Policy
from medlora.safety.stream import StreamGuard
from medlora.services import adapters
from medlora.services.chat_audit import ChatAudit, log_failure
from medlora.services.chat_draft import Draft
from medlora.services.chat_engine import ChatEngine
from medlora.services.chat_events import AnswerEngine, EngineEvent, Finished, Question, Sampling
from medlora.services.chat_history import readable_history
from medlora.services.chat_model import (
    StoppedError,
    hold_weights,
    prepare_model,
    read_folders,
    training_device,
)
from medlora.services.chat_turn import ChatSettings, ChatUpdate, TraceLine, Turns, read_conversation
from medlora.workspace import Workspace

__all__ = ["ChatService", "ChatSettings", "ChatUpdate", "TraceLine"]

_CPU_SHARED = "A training run is using this machine's processor: answers take longer while it goes on."
_GPU_TAKEN = "chat: a training run is using the GPU; ask again when it has ended, or stop it"


@dataclass(frozen=True)
class _Turn:
    """One question on its way, with everything that belongs to its conversation."""

    chat_id: str
    conversation: tuple[dict[str, str], ...]
    settings: ChatSettings
    policy: Policy
    stopped: threading.Event


class ChatService:
    """Answers conversations; one for the whole app. What belongs to a conversation is passed in each time."""

    def __init__(self, ws: Workspace, engine: AnswerEngine | None = None) -> None:
        self._ws = ws
        self._engine = engine or ChatEngine(ws)
        self._audit = ChatAudit(ws)
        self._lock = threading.Lock()
        self._active: dict[str, threading.Event] = {}

    def settings_for(self, adapter: str | None = None, base_model: str = "starter") -> ChatSettings:
        """The settings a chat begins with: the adapter's own configuration, else the defaults.

        Raises: NotFoundError; UserError for a configuration that this version cannot read.
        """
        if adapter is None:
            return ChatSettings.from_config(Config(), None, base_model)
        card = adapters.show(self._ws, adapter)
        try:
            config = Config.model_validate(dict(card.config))
        except ValidationError:
            raise UserError(
                f"adapter {adapter}: its configuration was written by another version; train it again"
            ) from None
        return ChatSettings.from_config(config, adapter, card.base_model)

    def reply(self, chat_id: str, turns: Turns, settings: ChatSettings) -> Iterator[ChatUpdate]:
        """The reply to the last turn, growing; closing the iterator stops it.

        The last update has `done`. If the engine dies, what was judged stays and `error` says why.
        Raises: UserError for what the user can mend.
        """
        conversation = read_conversation(turns)
        policy = Policy.from_settings({**settings.safety, "system_prompt": settings.system_prompt})
        turn = _Turn(chat_id, conversation, settings, policy, self._begin(chat_id))
        try:
            yield from self._reply(turn, Draft(policy))
        finally:
            with self._lock:
                self._active.pop(chat_id, None)

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

    def _reply(self, turn: _Turn, draft: Draft) -> Iterator[ChatUpdate]:
        try:
            decision = assess(turn.conversation, turn.policy)
            draft.decide(decision)
            self._audit.question(turn.chat_id, turn.conversation, turn.settings, decision)
        except Exception as error:  # noqa: BLE001 - fails closed: what is not judged and recorded is not answered
            log_failure("a question could not be judged", error)
            yield draft.fail_closed("the message")
            return
        if not decision.calls_model:
            yield draft.close_with(decision.message or turn.policy.messages.render("failed_closed"))
            return
        yield draft.update
        yield from self._answer(turn, decision, draft)

    def _answer(self, turn: _Turn, decision: Decision, draft: Draft) -> Iterator[ChatUpdate]:
        """Let the model speak through the guard; whatever happens, the answer is recorded."""
        guard = StreamGuard(turn.policy, decision)
        verdict = "cancelled"
        try:
            yield from self._speak(turn, draft, guard)
            result = guard.finish()
            verdict = result.verdict
            last = draft.conclude(result)
        except UserError:
            verdict = "failed"
            raise
        except Exception as error:  # noqa: BLE001 - fails closed: nothing that was not judged goes out
            log_failure("an answer could not be judged", error)
            verdict = "failed closed"
            last = draft.fail_closed("the answer")
        finally:
            guard.cancel()
            self._record(turn, draft, verdict)
        yield replace(last, notices=draft.update.notices)

    def _speak(self, turn: _Turn, draft: Draft, guard: StreamGuard) -> Iterator[ChatUpdate]:
        """Updates while the model speaks; at the end the guard knows whether to judge the rest."""
        try:
            with hold_weights(self._ws, turn.settings) as card:
                name = card.base_model if card else turn.settings.base_model
                files = yield from self._prepare(name, turn, draft)
                base, adapter = read_folders(card, files)
                question = Question(base, adapter, self._messages(turn), _sampling(turn.settings))
                yield from self._check_device(draft)
                with closing(self._engine.generate(question, turn.chat_id)) as events:
                    for event in events:
                        update = draft.hear(event, guard)
                        if _is_stopped(event):
                            guard.cancel()
                        if update is not None:
                            yield update
                        if guard.stopped:
                            break
        except StoppedError:
            draft.hear(Finished(stopped=True), guard)
            guard.cancel()
        except RunFailedError as error:
            draft.break_off(str(error))
            guard.cancel()

    def _prepare(self, name: str, turn: _Turn, draft: Draft) -> Generator[ChatUpdate, None, ModelFiles]:
        for item in prepare_model(self._ws, name, turn.stopped.is_set):
            if isinstance(item, ModelFiles):
                return item
            yield draft.report(*item)
        raise StoppedError

    def _check_device(self, draft: Draft) -> Iterator[ChatUpdate]:
        """One GPU, one owner: chat steps back while a run uses it; on a CPU both go on."""
        device = training_device(self._ws)
        if device == "cpu":
            yield draft.notice(_CPU_SHARED)
        elif device is not None:
            self._engine.free(_GPU_TAKEN)
            raise RunFailedError(_GPU_TAKEN)

    def _messages(self, turn: _Turn) -> tuple[dict[str, str], ...]:
        """What the model reads: the system prompt, and of the conversation what may reach a model."""
        prompt = turn.settings.system_prompt.strip()
        system = ({"role": "system", "content": prompt},) if prompt else ()
        return (*system, *readable_history(turn.conversation, turn.policy))

    def _record(self, turn: _Turn, draft: Draft, verdict: str) -> None:
        try:
            self._audit.answer(turn.chat_id, turn.conversation, turn.settings, draft.update, verdict)
        except Exception as error:  # noqa: BLE001 - the question is on record; this must not hide the answer's end
            log_failure("an answer could not be recorded", error)
            draft.notice("This answer could not be recorded in the audit log.")


def _is_stopped(event: EngineEvent) -> bool:
    return isinstance(event, Finished) and event.stopped


def _sampling(settings: ChatSettings) -> Sampling:
    return Sampling(**settings.inference.model_dump())
