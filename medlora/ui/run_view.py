"""How a run looks: its status in words, its figures, its curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlora.ui import present
from medlora.ui.chart import Series, line_chart
from medlora.ui.present import count, duration, gib, number

if TYPE_CHECKING:
    from medlora.runs.state import RunState
    from medlora.services.train import RunView

STATUS_WORDS = {
    "queued": "Waiting",
    "running": "Training",
    "stopping": "Stopping",
    "completed": "Finished",
    "stopped": "Stopped",
    "failed": "Failed",
    "lost": "Interrupted",
}


def show_status(view: RunView) -> str:
    """One sentence or two on where the run stands, and what can be done."""
    state, adapter = view.state, view.adapter_name
    status = view.status
    if status == "queued":
        body = "It starts in a moment."
        if view.ahead:
            before = "One run comes" if view.ahead == 1 else f"{number(view.ahead)} runs come"
            body = f"{before} before it; this one starts by itself."
        return present.notice("info", f"{adapter} is waiting", body)
    if status == "running":
        return present.notice(
            "info",
            f"Training {adapter}. It is safe to close this tab.",
            _phase_words(state) or "The run goes on.",
        )
    if status == "stopping":
        keep = "Nothing of it is kept." if state.discard else "What was learned so far is kept as an adapter."
        return present.notice("info", f"{adapter} is stopping", keep)
    if status == "completed":
        return present.notice("info", f"{adapter} is ready", "Try it in the Chat tab.")
    if status == "stopped":
        if state.adapter:
            return present.notice(
                "info",
                f"{adapter} was stopped at step {number(state.step)}",
                "The adapter learned so far is kept. Resume goes on from the last checkpoint.",
            )
        if state.checkpoint_step and not state.discard:
            kept = f"What was learned up to step {number(state.checkpoint_step)} is kept as a checkpoint."
            return present.notice("info", f"{adapter} was stopped", f"{kept} Resume goes on from there.")
        return present.notice("info", f"{adapter} was stopped", "Nothing of it was kept.")
    if status == "failed":
        reason = "\n".join(part for part in (state.reason, state.hint) if part)
        return present.notice("red", f"{adapter} failed", reason or "The log below says why.")
    return present.notice(
        "amber",
        f"{adapter} was interrupted",
        "Its process is gone (a restart, perhaps). Resume goes on from the last checkpoint.",
    )


def _phase_words(state: RunState) -> str:
    if state.step or not state.phase:
        return ""
    detail = f": {state.phase_detail}" if state.phase_detail else ""
    return f"{state.phase[:1].upper()}{state.phase[1:]}{detail}"


def show_figures(state: RunState) -> str:
    """The large numbers of a run."""
    total = f"of {number(state.total_steps)}" if state.total_steps else ""
    speed = number(state.tokens_per_second, 0) if state.tokens_per_second else "–"
    left = duration(state.eta_s) if not state.ended else duration(state.seconds)
    memory = state.peak_memory_gib if state.ended else state.memory_gib
    return present.big_numbers(
        [
            ("Loss", number(state.loss), "training"),
            ("Eval loss", number(state.eval_loss), "on rows held back"),
            ("Step", number(state.step), total),
            ("Took" if state.ended else "Time left", left),
            ("Tokens per second", speed),
            ("Memory", gib(memory), "at most" if state.ended else "now"),
        ]
    )


def _horizon(state: RunState) -> float | None:
    """Where the curves' axis ends: at the last step, or nearer while a long run has just begun."""
    if not state.total_steps or state.total_steps <= 10 * max(state.step, 1):
        return state.total_steps
    return 2.0 * max(state.step, 5)


def show_loss(state: RunState) -> str:
    """Training and evaluation loss over the steps."""
    lines = [
        Series("training", [(point.step, point.value) for point in state.loss_points]),
        Series("evaluation", [(point.step, point.value) for point in state.eval_points]),
    ]
    return line_chart("Loss", lines, x_high=_horizon(state))


def show_rate(state: RunState) -> str:
    """The learning rate over the steps."""
    points = [(point.step, point.value) for point in state.rate_points]
    return line_chart(
        "Learning rate", [Series("learning rate", points)], x_high=_horizon(state), from_zero=True
    )


def show_facts(state: RunState) -> str:
    """What the run works with: rows, parameters, device; and its notices."""
    plan = state.plan
    facts = []
    if plan.get("rows_train") is not None:
        facts.append(f"{count(int(plan['rows_train']), 'row')} to learn from")
    if plan.get("rows_eval"):
        facts.append(f"{count(int(plan['rows_eval']), 'row')} held back")
    if plan.get("truncated"):
        facts.append(f"{number(plan['truncated'])} cut to length")
    if plan.get("left_out"):
        facts.append(f"{number(plan['left_out'])} left out")
    if plan.get("trainable_parameters") and plan.get("total_parameters"):
        part = 100 * plan["trainable_parameters"] / plan["total_parameters"]
        facts.append(f"{number(plan['trainable_parameters'])} parameters trained ({part:.2f} %)")
    facts += [str(plan[key]) for key in ("device", "precision") if plan.get(key)]
    if plan.get("processes", 1) > 1:
        facts.append(f"{number(plan['processes'])} processes")
    if state.resumed_from:
        facts.append(f"resumed from step {number(state.resumed_from)}")
    notes = "".join(present.notice("info", notice) for notice in state.notices)
    return (present.pills(facts) if facts else "") + notes
