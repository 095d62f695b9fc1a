"""A reply while it is written: what the safety layer decided, and what it let through so far."""

from __future__ import annotations

import time
from dataclasses import replace

from medlora.safety.decision import Decision, Finding
from medlora.safety.levels import Action, Level, action_for
from medlora.safety.policy import Policy
from medlora.safety.stream import GuardResult, StreamGuard
from medlora.services.chat_events import EngineEvent, Finished, Notice, Stage, Started, Text, Waiting
from medlora.services.chat_turn import ChatUpdate, TraceLine

_STAGES = {
    "starting": "Starting the chat engine",
    "loading_model": "Loading the model",
    "loading_adapter": "Loading the adapter",
    "asking_server": "Waiting for the server",
}
# How often a reply is reported while nothing new may be shown.
_QUIET_S = 0.5


class Draft:
    """Collects a reply; every snapshot of it is complete in itself. Only judged text enters."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        banner = None if policy.content_filter else policy.messages.render("filter_off")
        self.update = ChatUpdate(banner=banner)
        self._reported_at = 0.0

    def decide(self, decision: Decision) -> None:
        """Take over what the assessment found."""
        findings, effect = decision.findings, decision.action.value
        trace = [_line("input", finding, effect) for finding in findings]
        trace += [_line("input", finding, "set aside") for finding in decision.dropped]
        trace = trace or [TraceLine("input", decision.level.label, "no sign of danger", (), "", effect)]
        notes = (decision.message,) if decision.action is Action.ANNOTATE and decision.message else ()
        self._set(
            level=decision.level.label, action=effect, findings=findings, trace=tuple(trace), notes=notes
        )

    def close_with(self, text: str) -> ChatUpdate:
        """The whole reply is this fixed text; no model was asked."""
        return self._set(text=text, delta=text, done=True, stage="")

    def fail_closed(self, what: str) -> ChatUpdate:
        """Something in the safety layer failed: what was judged stays, a fixed text follows."""
        line = TraceLine("safety layer", "defer", f"{what} could not be checked", (), "", "failed closed")
        level = max(Level.parse(self.update.level), Level.DEFER)
        self._set(
            level=level.label,
            action=Action.BLOCK.value,
            withheld=True,
            trace=(*self.update.trace, line),
        )
        return self._append_fixed(self._policy.messages.render("failed_closed"))

    def report(self, stage: str, fraction: float | None = None) -> ChatUpdate:
        """Something is being waited for."""
        return self._set(stage=stage, fraction=fraction, delta="", queue_place=None)

    def notice(self, message: str) -> ChatUpdate:
        return self._set(notices=(*self.update.notices, message), delta="")

    def hear(self, event: EngineEvent, guard: StreamGuard) -> ChatUpdate | None:
        """Take an event of the engine; a snapshot where there is something new to show.

        Raises: whatever the guard raises.
        """
        if isinstance(event, Text):
            return self._add(guard.feed(event.text), event.tokens)
        if isinstance(event, Waiting):
            return self._set(queue_place=event.place, stage="Waiting for other conversations", delta="")
        if isinstance(event, Stage):
            return self.report(_STAGES.get(event.name, event.name))
        if isinstance(event, Notice):
            return self.notice(event.message)
        if isinstance(event, Started):
            return self._set(
                base_model=event.base,
                adapter=event.adapter,
                weights=event.weights,
                server=event.server,
                precision=event.precision,
                stage="Writing",
                fraction=None,
                queue_place=None,
                delta="",
            )
        if isinstance(event, Finished):
            self._finish(event)
        return None

    def conclude(self, result: GuardResult) -> ChatUpdate:
        """Take what the guard said last, and close the reply."""
        level, action = Level.parse(self.update.level), self.update.action
        for finding in result.findings:
            level = max(level, finding.level)
        withheld = result.verdict not in ("released", "annotated", "cancelled")
        if withheld:
            action = Action.BLOCK.value
        elif result.findings and action == Action.ANSWER.value:
            action = action_for(Level.CAUTION).value
        effect = result.verdict
        trace = [_line("output", finding, effect) for finding in result.findings]
        self._set(
            text=self.update.text + result.text,
            level=level.label,
            action=action,
            findings=(*self.update.findings, *result.findings),
            trace=(*self.update.trace, *trace),
            notes=(*self.update.notes, *((result.note,) if result.note else ())),
            withheld=withheld,
        )
        if result.replacement:
            return self._append_fixed(result.replacement, before=result.text)
        return self._set(delta=result.text, done=True, stage="", queue_place=None)

    def break_off(self, error: str) -> None:
        """The engine failed; the reply ends here, and says why."""
        self._set(error=error)

    def _add(self, released: str, tokens: int) -> ChatUpdate | None:
        self.update = replace(self.update, text=self.update.text + released, delta=released, tokens=tokens)
        quiet = time.monotonic() - self._reported_at < _QUIET_S
        return None if quiet and not released else self._set()

    def _finish(self, event: Finished) -> None:
        self._set(
            stopped=event.stopped,
            truncated=event.truncated,
            tokens=event.tokens or self.update.tokens,
            seconds_to_first_token=event.seconds_to_first_token,
            tokens_per_second=event.tokens_per_second,
            delta="",
        )
        if event.truncated:
            self.notice("The answer reached its longest allowed length and was cut off.")

    def _append_fixed(self, fixed: str, before: str = "") -> ChatUpdate:
        """A paragraph of its own after what was shown, which itself never changes any more."""
        shown = self.update.text
        gap = "" if not shown else "\n" * (2 - min(2, len(shown) - len(shown.rstrip("\n"))))
        delta = f"{before}{gap}{fixed}"
        return self._set(text=f"{shown}{gap}{fixed}", delta=delta, done=True, stage="", queue_place=None)

    def _set(self, **changes: object) -> ChatUpdate:
        self._reported_at = time.monotonic()
        self.update = replace(self.update, **changes)  # type: ignore[arg-type]
        return self.update


def _line(where: str, finding: Finding, effect: str) -> TraceLine:
    return TraceLine(where, finding.level.label, finding.concept, finding.context, finding.source, effect)
