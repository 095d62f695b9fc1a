"""One who answers: from the judgement of a question to the end of its judged and recorded answer."""

from __future__ import annotations

from dataclasses import replace

from medlora.safety.assessment import assess
from medlora.safety.decision import Decision
from medlora.safety.policy import Policy
from medlora.safety.stream import StreamGuard
from medlora.services.chat_audit import ChatAudit, log_failure
from medlora.services.chat_draft import Draft
from medlora.services.chat_events import Broken, EngineEvent, Finished, Sampling
from medlora.services.chat_history import readable_history
from medlora.services.chat_turn import ChatSettings, ChatUpdate, Turns, read_conversation


class Speaker:
    """Reads one conversation with one set of weights; only what its own safety settings let through shows.

    Why each has a judgement and a guard of its own: speakers side by side may stand under different
    configurations, and what one may say does not excuse the other.
    """

    def __init__(self, chat_id: str, turns: Turns, settings: ChatSettings, audit: ChatAudit) -> None:
        """Raises: UserError for a conversation that cannot be answered."""
        self.settings = settings
        self._chat_id = chat_id
        self._audit = audit
        self._turns = read_conversation(turns)
        self._policy = Policy.from_settings({**settings.safety, "system_prompt": settings.system_prompt})
        self._draft = Draft(self._policy)
        self._guard: StreamGuard | None = None
        self._last: ChatUpdate | None = None

    @property
    def update(self) -> ChatUpdate:
        """The reply as it stands."""
        return self._last or self._draft.update

    @property
    def done(self) -> bool:
        return self._last is not None

    def judge(self) -> None:
        """Assess the question and record it; if no model may be asked, the reply is complete.

        Why a fixed text is given even when it cannot be recorded: a full disk must not keep the number of a
        helpline from anyone.
        """
        decision = None
        try:
            decision = assess(self._turns, self._policy)
            self._draft.decide(decision)
            self._audit.question(self._chat_id, self._turns, self.settings, decision)
        except Exception as error:  # noqa: BLE001 - fails closed: what is not judged and recorded is not answered
            log_failure("a question could not be judged", error)
            if decision is None or decision.calls_model:
                self._last = self._draft.fail_closed("the message")
                return
            self._draft.notice("This message could not be recorded in the audit log.")
        if decision.calls_model:
            self._guard = StreamGuard(self._policy, decision)
        else:
            self._last = self._draft.close_with(self._fixed_text(decision))

    def messages(self) -> tuple[dict[str, str], ...]:
        """What the model reads: the system prompt, and of the conversation what may reach a model."""
        prompt = self.settings.system_prompt.strip()
        system = ({"role": "system", "content": prompt},) if prompt else ()
        return (*system, *readable_history(self._turns, self._policy))

    def sampling(self) -> Sampling:
        return Sampling(**self.settings.inference.model_dump(include={*Sampling.__dataclass_fields__}))

    def report(self, stage: str, fraction: float | None) -> None:
        """Something is being waited for."""
        self._draft.report(stage, fraction)

    def notice(self, message: str) -> None:
        self._draft.notice(message)

    def hear(self, event: EngineEvent) -> bool:
        """Take an event of the engine; whether there is something new to show."""
        if self._last is not None or self._guard is None:
            return False
        if isinstance(event, Broken):
            self.break_off(event.reason)
            return True
        try:
            update = self._draft.hear(event, self._guard)
        except Exception as error:  # noqa: BLE001 - fails closed: nothing that was not judged goes out
            self.fail_closed(error)
            return True
        ended = isinstance(event, Finished)
        if isinstance(event, Finished) and event.stopped:
            self._guard.cancel()
        if ended or self._guard.stopped:
            self.finish()
        return update is not None or self.done

    def break_off(self, reason: str) -> None:
        """The engine failed: what was judged stays, and the reason is said."""
        if self._last is None and self._guard is not None:
            self._draft.break_off(reason)
            self._guard.cancel()
            self.finish()

    def finish(self) -> None:
        """Judge the rest, close the reply and record it."""
        if self._last is not None or self._guard is None:
            return
        try:
            result = self._guard.finish()
            last = self._draft.conclude(result)
        except Exception as error:  # noqa: BLE001 - fails closed: nothing that was not judged goes out
            self.fail_closed(error)
        else:
            self._close(last, result.verdict)

    def fail_closed(self, error: Exception) -> None:
        """The safety layer failed: a fixed text ends the reply."""
        if self._last is None:
            log_failure("an answer could not be judged", error)
            self._close(self._draft.fail_closed("the answer"), "failed closed")

    def abandon(self, verdict: str) -> None:
        """Nobody listens any more, or nothing can be answered; an answer under way is recorded as that."""
        if self._last is None and self._guard is not None:
            self._close(self._draft.update, verdict)

    def _close(self, last: ChatUpdate, verdict: str) -> None:
        if self._guard is not None:
            self._guard.cancel()
        try:
            self._audit.answer(self._chat_id, self._turns, self.settings, self._draft.update, verdict)
        except Exception as error:  # noqa: BLE001 - the question is on record; this must not hide the answer's end
            log_failure("an answer could not be recorded", error)
            self._draft.notice("This answer could not be recorded in the audit log.")
        self._last = replace(last, notices=self._draft.update.notices)

    def _fixed_text(self, decision: Decision) -> str:
        return decision.message or self._policy.messages.render("failed_closed")
