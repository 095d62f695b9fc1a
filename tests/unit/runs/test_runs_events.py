from __future__ import annotations

import multiprocessing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.runs.events import append_event, fold, last_event, read_events
from medlora.runs.state import Point
from medlora.workspace import RunPaths

NUMBER = st.one_of(st.none(), st.integers(-5, 10**6), st.floats(allow_nan=True), st.booleans(), st.text())
STATUS = st.sampled_from(["completed", "stopped", "failed", "lost", "?", None])
ENDINGS = ["published", "ended", "stop_requested", "signalled"]
STARTS = ["created", "queued", "launching", "launched", "started", "phase", "plan"]
KINDS = [*STARTS, "notice", "step", "eval", "checkpoint", *ENDINGS, "unheard_of"]
EVENT = st.fixed_dictionaries(
    {"kind": st.sampled_from(KINDS), "time": NUMBER},
    optional={
        **{
            name: NUMBER
            for name in ("step", "loss", "eval_loss", "total_steps", "resumed_from", "steps", "pid", "ticket")
        },
        **{name: st.text() for name in ("name", "message", "adapter", "reason")},
        "status": STATUS,
        "discard": st.booleans(),
    },
)


@given(st.lists(EVENT, max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_prefix_of_any_events_gives_a_valid_state(events):
    for length in range(len(events) + 1):
        state = fold(events[:length])
        assert state.status in {"queued", "running", "stopping", "completed", "stopped", "failed"}
        assert all(isinstance(point.step, int) for point in state.loss_points)


@given(st.lists(EVENT, max_size=12), st.integers(0, 2000), st.binary(max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_still_reads_as_its_whole_lines(tmp_path_factory, events, cut, noise):
    run = RunPaths(tmp_path_factory.mktemp("run"))
    for event in events:
        fields = {key: value for key, value in event.items() if key not in ("kind", "time")}
        append_event(run, event["kind"], **fields)
    whole = read_events(run)
    data = run.events.read_bytes() if events else b""
    run.events.write_bytes(data[:cut])
    kept = read_events(run)
    assert kept == whole[: len(kept)]
    fold(kept)
    with run.events.open("ab") as file:
        file.write(noise.replace(b"\n", b""))
    append_event(run, "notice", message="after the tear")
    assert read_events(run)[-1]["message"] == "after the tear"
    assert last_event(run)["message"] == "after the tear"


def test_a_torn_last_line_is_not_read(tmp_path):
    run = RunPaths(tmp_path)
    append_event(run, "step", step=1, loss=2.5)
    with run.events.open("ab") as file:
        file.write(b'{"kind": "step", "step": 2')
    assert [event["step"] for event in read_events(run)] == [1]


def test_a_loss_that_is_not_finite_is_a_gap(tmp_path):
    run = RunPaths(tmp_path)
    for step, loss in enumerate((2.0, float("nan"), float("inf"), 1.0), start=1):
        append_event(run, "step", step=step, loss=loss)
    assert fold(read_events(run)).loss_points == [Point(1, 2.0), Point(4, 1.0)]


def test_a_resumed_run_forgets_the_points_after_its_checkpoint():
    steps = [{"kind": "step", "step": n, "loss": float(n)} for n in range(1, 9)]
    again = {"kind": "started", "pid": 1, "pid_start": 1.0, "resumed_from": 6}
    state = fold([*steps, again, {"kind": "step", "step": 7, "loss": 0.5}])
    assert [point.step for point in state.loss_points] == [1, 2, 3, 4, 5, 6, 7]
    assert state.loss_points[-1] == Point(7, 0.5)
    assert state.resumed_from == 6


def test_only_the_first_end_counts():
    state = fold([{"kind": "ended", "status": "completed"}, {"kind": "ended", "status": "stopped"}])
    assert state.status == "completed"


def test_a_requeued_run_is_no_longer_ended_nor_asked_to_stop():
    state = fold(
        [
            {"kind": "queued", "ticket": 1},
            {"kind": "stop_requested", "discard": False, "time": 5.0},
            {"kind": "ended", "status": "stopped", "reason": "asked"},
            {"kind": "queued", "ticket": 4},
        ]
    )
    assert (state.status, state.stop_requested, state.reason, state.ticket) == ("queued", False, None, 4)


def append_many(folder: str, name: str) -> None:
    for number in range(40):
        append_event(RunPaths(Path(folder)), "notice", message=f"{name}-{number}")


def test_several_processes_append_without_losing_a_line(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(str(tmp_path), name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    messages = [event["message"] for event in read_events(RunPaths(tmp_path))]
    assert len(messages) == 120
    assert [m for m in messages if m.startswith("b")] == [f"b-{n}" for n in range(40)]
