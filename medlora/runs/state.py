"""What a run's events add up to: a pure function, so that any prefix of them gives a valid state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Event = Mapping[str, Any]
Status = Literal["queued", "running", "stopping", "completed", "stopped", "failed", "lost"]
ENDED: frozenset[str] = frozenset({"completed", "stopped", "failed"})
ACTIVE: frozenset[str] = frozenset({"queued", "running", "stopping"})


@dataclass(frozen=True)
class Point:
    """One point of a curve."""

    step: int
    value: float


@dataclass
class RunState:
    """One run as its events tell it; whether its process is alive is not known here.

    Units: seconds, GiB, tokens per second of real (not padding) tokens.
    """

    status: Status = "queued"
    ticket: float | None = None
    pid: int | None = None
    pid_start: float | None = None
    launching: bool = False
    started_at: float | None = None
    first_started_at: float | None = None
    attempts: int = 0
    resumed_from: int | None = None
    phase: str = ""
    phase_detail: str = ""
    phase_fraction: float | None = None
    phase_at: float | None = None
    plan: dict[str, Any] = field(default_factory=dict)
    short_of_memory: bool = False
    notices: list[str] = field(default_factory=list)
    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: int | None = None
    tokens_per_second: float | None = None
    memory_gib: float | None = None
    peak_memory_gib: float | None = None
    eta_s: float | None = None
    eval_loss: float | None = None
    checkpoint_step: int | None = None
    checkpoint: str | None = None
    stop_requested_at: float | None = None
    discard: bool = False
    heard_at: float | None = None
    signalled: str | None = None
    signalled_at: float | None = None
    adapter: str | None = None
    adapter_step: int | None = None
    ended_at: float | None = None
    reason: str | None = None
    hint: str | None = None
    seconds: float | None = None
    train_loss: float | None = None
    last_event_at: float | None = None
    loss_points: list[Point] = field(default_factory=list)
    eval_points: list[Point] = field(default_factory=list)
    rate_points: list[Point] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def stop_requested(self) -> bool:
        return self.stop_requested_at is not None


_STEP_FIELDS = (
    "total_steps",
    "epoch",
    "loss",
    "learning_rate",
    "grad_norm",
    "tokens",
    "tokens_per_second",
    "memory_gib",
    "peak_memory_gib",
    "eta_s",
)
_END_FIELDS = (
    "reason",
    "hint",
    "seconds",
    "train_loss",
    "eval_loss",
    "tokens_per_second",
    "peak_memory_gib",
)


def fold(events: Iterable[Event]) -> RunState:
    """The state after these events, in their order; unknown kinds and fields change nothing."""
    state = RunState()
    for event in events:
        apply = _APPLY.get(str(event.get("kind")))
        state.last_event_at = _number(event.get("time")) or state.last_event_at
        if apply is not None:
            apply(state, event)
    return state


def _number(value: object) -> float | None:
    """A finite number, else None: a loss that is not finite is a gap in the curve."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _queued(state: RunState, event: Event) -> None:
    """Back in the queue, also after an end: an earlier stop no longer counts."""
    state.status = "queued"
    state.ticket = _number(event.get("ticket"))
    state.pid = state.pid_start = None
    state.launching = False
    state.stop_requested_at = state.heard_at = state.signalled_at = state.signalled = None
    state.discard = False
    state.ended_at = state.reason = state.hint = None
    state.phase, state.phase_detail, state.phase_fraction = "", "", None


def _moved(state: RunState, event: Event) -> None:
    """To another place in the queue."""
    if state.status == "queued":
        state.ticket = _number(event.get("ticket"))


def _launched(state: RunState, event: Event) -> None:
    """A process was started, or (launching) is about to be by the process named."""
    if state.ended:
        return
    state.status = "stopping" if state.stop_requested else "running"
    state.pid = _count(event.get("pid"))
    state.pid_start = _number(event.get("pid_start"))
    state.launching = event.get("kind") == "launching"
    state.phase, state.phase_at = "starting", _number(event.get("time"))


def _started(state: RunState, event: Event) -> None:
    if state.ended:
        return
    _launched(state, event)
    state.attempts += 1
    state.started_at = _number(event.get("time"))
    state.first_started_at = state.first_started_at or state.started_at
    state.resumed_from = _count(event.get("resumed_from"))
    _rewind(state, state.resumed_from or 0)


def _rewind(state: RunState, step: int) -> None:
    """Forget the points after the checkpoint: they will be computed again."""
    state.step = step
    state.eta_s = None
    for points in (state.loss_points, state.eval_points, state.rate_points):
        points[:] = [point for point in points if point.step <= step]


def _phase(state: RunState, event: Event) -> None:
    state.phase = _text(event.get("name"))
    state.phase_detail = _text(event.get("detail"))
    state.phase_fraction = _number(event.get("fraction"))
    state.phase_at = _number(event.get("time"))
    _heard(state, event)


def _heard(state: RunState, event: Event) -> None:
    """What a worker does once it was asked to stop shows that it heard; going on with steps does not."""
    if state.stop_requested:
        state.heard_at = _number(event.get("time"))


def _plan(state: RunState, event: Event) -> None:
    state.plan.update({key: value for key, value in event.items() if key not in ("kind", "time")})
    state.total_steps = _count(event.get("total_steps")) or state.total_steps


def _notice(state: RunState, event: Event) -> None:
    message = _text(event.get("message"))
    if message and message not in state.notices:
        state.notices.append(message)


def _smaller_batch(state: RunState, event: Event) -> None:
    """Memory ran out, and the run goes on with fewer rows at a time."""
    _notice(state, event)
    state.short_of_memory = True
    state.plan.update({key: event[key] for key in ("micro_batch", "accumulation") if key in event})


def _step(state: RunState, event: Event) -> None:
    step = _count(event.get("step"))
    if step is None:
        return
    state.step = step
    for name in _STEP_FIELDS:
        value = _number(event.get(name))
        if value is not None:
            setattr(state, name, int(value) if name in ("total_steps", "tokens") else value)
    for name, points in (("loss", state.loss_points), ("learning_rate", state.rate_points)):
        value = _number(event.get(name))
        if value is not None:
            points.append(Point(step, value))


def _eval(state: RunState, event: Event) -> None:
    step, value = _count(event.get("step")), _number(event.get("eval_loss"))
    if step is not None and value is not None:
        state.eval_loss = value
        state.eval_points.append(Point(step, value))


def _checkpoint(state: RunState, event: Event) -> None:
    state.checkpoint_step = _count(event.get("step"))
    state.checkpoint = _text(event.get("name")) or None
    _heard(state, event)


def _stop_requested(state: RunState, event: Event) -> None:
    if state.ended:
        return
    state.stop_requested_at = state.stop_requested_at or _number(event.get("time")) or 0.0
    state.discard = state.discard or event.get("discard") is True
    if state.status == "running":
        state.status = "stopping"


def _signalled(state: RunState, event: Event) -> None:
    state.signalled = _text(event.get("signal")) or None
    state.signalled_at = _number(event.get("time"))


def _published(state: RunState, event: Event) -> None:
    state.adapter = _text(event.get("adapter")) or None
    state.adapter_step = _count(event.get("step"))
    _heard(state, event)


def _ended(state: RunState, event: Event) -> None:
    """The first end counts; a later one (a watchdog beside a worker) changes nothing."""
    status = event.get("status")
    if state.ended or status not in ENDED:
        return
    state.status = status
    state.ended_at = _number(event.get("time"))
    state.step = _count(event.get("steps")) or state.step
    state.eta_s = None
    state.launching = False
    for name in _END_FIELDS:
        value = event.get(name)
        if isinstance(value, str) or _number(value) is not None:
            setattr(state, name, value)


_APPLY = {
    "queued": _queued,
    "moved": _moved,
    "launching": _launched,
    "launched": _launched,
    "started": _started,
    "phase": _phase,
    "plan": _plan,
    "notice": _notice,
    "smaller_batch": _smaller_batch,
    "step": _step,
    "eval": _eval,
    "checkpoint": _checkpoint,
    "stop_requested": _stop_requested,
    "signalled": _signalled,
    "published": _published,
    "ended": _ended,
}
