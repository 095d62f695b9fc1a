from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import psutil
import pytest

from medlora.errors import UserError
from medlora.runs.events import append_event, read_events
from medlora.runs.live import observe
from medlora.runs.process import ProcessMark, is_alive, worker_environment
from medlora.runs.queue import dispatch, find_active, move_up, requeue_run, submit_run, waiting_runs
from medlora.runs.stop import StopListener, request_stop
from medlora.runs.store import free_adapter_name, load_record, remove_run
from medlora.runs.watchdog import Grace, decide, watch_runs

SHORT = Grace(acknowledge_s=0.3, finish_s=5, terminate_s=0.3)


def test_a_run_goes_from_queued_to_completed_and_its_output_is_in_its_log(ws, make_request, worker, wait_for):
    run = submit_run(ws, make_request())
    assert observe(run).status == "queued"
    assert dispatch(ws, worker("quick")) == [run.run_id]
    state = wait_for(run, lambda state: state.ended)
    assert (state.status, state.attempts) == ("completed", 1)
    assert run.log.read_text() == "said on stdout\n"
    assert oct(run.log.stat().st_mode & 0o777) == "0o600"


def test_runs_start_one_at_a_time_in_their_order(ws, make_request, worker, wait_for):
    runs = [submit_run(ws, make_request(name)) for name in ("one", "two", "three")]
    assert [run.run_id for run, _ in waiting_runs(ws)] == [run.run_id for run in runs]
    started: list[str] = []
    end = time.monotonic() + 20
    while len(started) < 3:
        assert time.monotonic() < end
        started += dispatch(ws, worker("quick"))
        time.sleep(0.02)
    assert started == [run.run_id for run in runs]
    states = [wait_for(run, lambda state: state.ended) for run in runs]
    for before, after in pairwise(states):
        assert before.ended_at <= after.started_at


CLICK = """
import sys
from pathlib import Path
from medlora.runs.queue import dispatch, submit_run
from medlora.runs.store import RunRequest
from medlora.workspace import Workspace
ws = Workspace.open(Path(sys.argv[1]))
sys.stdin.readline()
for name in sys.argv[3:]:
    submit_run(ws, RunRequest(config={}, dataset={}, adapter_name=name))
    dispatch(ws, (sys.executable, sys.argv[2], "slow"))
"""


def click_at_once(ws, worker, names):
    script = worker("slow")[1]
    command = [sys.executable, "-c", CLICK, str(ws.home), script]
    env = {**os.environ, "PYTHONPATH": str(ws.checkout)}
    clicks = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, env=env, start_new_session=True)
        for name in names
    ]
    for click in clicks:
        click.stdin.write(b"go\n")
        click.stdin.flush()
    for click in clicks:
        click.communicate(timeout=60)
        assert click.returncode == 0


def test_eight_processes_starting_at_once_get_one_owner_and_a_queue(ws, make_request, worker, wait_for):
    click_at_once(ws, worker, [f"run-{n}" for n in range(8)])
    active = find_active(ws)
    wait_for(active, lambda state: state.step > 0)
    assert len(waiting_runs(ws)) == 7
    assert len({state.ticket for _, state in waiting_runs(ws)}) == 7
    workers = [
        p for p in psutil.process_iter(["cmdline"]) if str(ws.home) in " ".join(p.info["cmdline"] or [])
    ]
    assert len(workers) == 1


def test_the_same_start_clicked_in_several_tabs_is_one_run(ws, make_request, worker):
    click_at_once(ws, worker, ["same"] * 4)
    assert len(list(ws.experiments.iterdir())) == 1


def test_the_same_token_is_the_same_start(ws, make_request):
    first = submit_run(ws, make_request(token="abc"))
    assert submit_run(ws, make_request(token="abc")) == first
    assert submit_run(ws, make_request(token="def")) != first


def test_a_killed_worker_is_lost_and_frees_the_device(ws, make_request, worker, wait_for):
    first, second = submit_run(ws, make_request("one")), submit_run(ws, make_request("two"))
    dispatch(ws, worker("slow"))
    state = wait_for(first, lambda state: state.step > 2)
    psutil.Process(state.pid).kill()
    wait_for(first, lambda state: state.status == "lost")
    assert dispatch(ws, worker("quick")) == [second.run_id]
    wait_for(second, lambda state: state.ended)
    requeue_run(ws, first)
    assert [run for run, _ in waiting_runs(ws)] == [first]


def test_a_zombie_and_a_reused_pid_do_not_count_as_alive():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = ProcessMark.of(child.pid)
    assert is_alive(mark.pid, mark.start)
    assert not is_alive(mark.pid, mark.start - 60)
    child.kill()
    end = time.monotonic() + 5
    while is_alive(mark.pid, mark.start):
        assert time.monotonic() < end
    assert psutil.Process(mark.pid).status() == psutil.STATUS_ZOMBIE
    child.communicate()
    assert not is_alive(mark.pid, mark.start)
    assert not is_alive(None, None)


def test_a_launch_that_died_half_way_is_tried_again_after_a_while(ws, make_request, monkeypatch):
    run = submit_run(ws, make_request())
    append_event(run, "launching", pid=os.getpid(), pid_start=1.0)
    assert observe(run).status == "running"
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert observe(run).status == "queued"


def test_a_worker_that_cannot_be_started_fails_in_words(ws, make_request):
    run = submit_run(ws, make_request())
    assert dispatch(ws, ("/no/such/program",)) == []
    state = observe(run)
    assert state.status == "failed"
    assert state.reason == "Its process could not be started (No such file or directory)"


def test_stop_is_heard_and_pressing_again_changes_nothing(ws, make_request, worker, wait_for):
    run = submit_run(ws, make_request())
    dispatch(ws, worker("slow"))
    wait_for(run, lambda state: state.step > 0)
    for _ in range(3):
        request_stop(ws, run)
    assert observe(run).status in ("stopping", "stopped")
    state = wait_for(run, lambda state: state.ended)
    request_stop(ws, run)
    assert (state.status, state.discard) == ("stopped", False)
    assert [event["kind"] for event in read_events(run)].count("stop_requested") == 1


def test_a_stop_can_become_a_discard_but_not_the_other_way(ws, make_request):
    run = submit_run(ws, make_request())
    own = ProcessMark.own()
    append_event(run, "started", pid=own.pid, pid_start=own.start)
    request_stop(ws, run)
    request_stop(ws, run, discard=True)
    request_stop(ws, run)
    assert run.stop_file.read_text() == '{\n  "discard": true\n}\n'
    assert observe(run).discard


def test_a_queued_run_is_cancelled_and_can_be_put_back(ws, make_request):
    run = submit_run(ws, make_request())
    request_stop(ws, run)
    state = observe(run)
    assert (state.status, state.reason) == ("stopped", "It was taken out of the queue before it started")
    requeue_run(ws, run)
    assert observe(run).status == "queued"
    with pytest.raises(UserError, match=f"^run {run.run_id}: it is queued already$"):
        requeue_run(ws, run)


def test_a_finished_run_cannot_be_discarded_nor_resumed(ws, make_request):
    run = submit_run(ws, make_request())
    append_event(run, "ended", status="completed")
    with pytest.raises(UserError) as caught:
        request_stop(ws, run, discard=True)
    assert str(caught.value) == (
        f"run {run.run_id}: it has ended (completed), so there is nothing to discard; "
        "delete its adapter or remove the run instead"
    )
    with pytest.raises(UserError) as caught:
        requeue_run(ws, run)
    assert str(caught.value) == (
        f"run {run.run_id}: it is completed; to train it longer say how long, "
        "such as --set training.num_train_epochs=5"
    )


def watch_until_ended(ws, run, wait_for):
    def look(state):
        watch_runs(ws, SHORT)
        return state.ended

    return wait_for(run, look)


def test_a_deaf_worker_and_its_children_are_ended_by_force(ws, make_request, worker, wait_for):
    run = submit_run(ws, make_request())
    dispatch(ws, worker("deaf"))
    state = wait_for(run, lambda state: state.step > 2)
    family = psutil.Process(state.pid).children(recursive=True)
    assert family
    (run.checkpoints / "kept").touch()
    request_stop(ws, run)
    state = watch_until_ended(ws, run, wait_for)
    assert (state.status, state.reason) == (
        "stopped",
        "It did not answer the stop and was ended by force",
    )
    signals = [event["signal"] for event in read_events(run) if event["kind"] == "signalled"]
    assert signals == ["terminate", "kill"]
    assert not any(process.is_running() and process.status() != "zombie" for process in family)
    assert (run.checkpoints / "kept").exists()


@pytest.mark.skipif(os.name != "posix", reason="only POSIX can suspend a process")
def test_a_suspended_worker_that_is_discarded_leaves_no_checkpoint(ws, make_request, worker, wait_for):
    run = submit_run(ws, make_request())
    dispatch(ws, worker("slow"))
    state = wait_for(run, lambda state: state.step > 0)
    (run.checkpoints / "gone").touch()
    os.kill(state.pid, signal.SIGSTOP)
    request_stop(ws, run, discard=True)
    state = watch_until_ended(ws, run, wait_for)
    assert (state.status, state.discard, run.checkpoints.exists()) == ("stopped", True, False)


def test_a_worker_that_heard_the_stop_gets_time_to_save(ws, make_request):
    run = submit_run(ws, make_request())
    own = ProcessMark.own()
    append_event(run, "started", pid=own.pid, pid_start=own.start)
    request_stop(ws, run)
    state, now = observe(run), time.time()
    assert decide(state, now + 14, Grace()) == "wait"
    assert decide(state, now + 16, Grace()) == "terminate"
    append_event(run, "phase", name="stopping", detail="")
    heard = observe(run)
    assert decide(heard, now + 500, Grace()) == "wait"
    assert decide(heard, now + 605, Grace()) == "terminate"


def test_a_worker_gets_no_secrets_and_no_network_it_does_not_need(ws):
    environ = {"HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "GRADIO_SHARE": "1", "PATH": "/bin"}
    offline = worker_environment(ws, environ, offline=True)
    assert "t" not in offline.values()
    assert "s" not in offline.values()
    assert offline["HF_HUB_OFFLINE"] == "1"
    assert offline["PATH"] == "/bin"
    assert "GRADIO_SHARE" not in offline
    online = worker_environment(ws, environ, offline=False)
    assert (online["HF_TOKEN"], "HF_HUB_OFFLINE" in online) == ("t", False)


def test_the_record_says_what_was_asked_for(ws, make_request):
    run = submit_run(ws, make_request(source_text="training:\n  max_steps: 3\n"))
    record = load_record(run)
    assert record["results"] is None
    assert record["config"] == {"training": {"max_steps": 3}}
    assert record["source_text"] == "training:\n  max_steps: 3\n"
    assert record["run_id"] == run.run_id
    assert "torch" in record["packages"]


def test_a_taken_adapter_name_gets_a_number(ws):
    assert free_adapter_name(ws, "clinic") == "clinic"
    for expected in ("clinic-2", "clinic-3"):
        ws.adapter("clinic").mkdir(exist_ok=True)
        assert free_adapter_name(ws, "clinic") == expected
        ws.adapter(expected).mkdir()


def test_a_removed_run_is_gone(ws, make_request):
    run = submit_run(ws, make_request())
    remove_run(run)
    assert not any(ws.experiments.iterdir())


def test_a_worker_in_a_long_step_answers_the_stop_from_a_thread(ws, make_request, wait_for):
    run = submit_run(ws, make_request())
    own = ProcessMark.own()
    append_event(run, "started", pid=own.pid, pid_start=own.start)
    StopListener(run, every_s=0.01).start()
    request_stop(ws, run)
    assert wait_for(run, lambda state: state.heard_at is not None).phase == "stopping"


def test_a_waiting_run_moves_up_one_place_at_a_time(ws, make_request):
    runs = [submit_run(ws, make_request(name)) for name in ("one", "two", "three", "four")]

    def order():
        return [run.run_id.split("-")[-2] for run, _ in waiting_runs(ws)]

    move_up(ws, runs[3])
    assert order() == ["one", "two", "four", "three"]
    move_up(ws, runs[3])
    move_up(ws, runs[1])
    assert order() == ["one", "two", "four", "three"]
    move_up(ws, runs[0])
    move_up(ws, runs[1])
    assert order() == ["two", "one", "four", "three"]
    assert [run for run, _ in waiting_runs(ws)][-1] == runs[2]
    append_event(runs[0], "ended", status="completed")
    with pytest.raises(UserError, match=r"it does not wait in the queue \(completed\)$"):
        move_up(ws, runs[0])


def test_a_new_run_waits_behind_those_that_were_moved(ws, make_request):
    first, second = (submit_run(ws, make_request(name)) for name in ("one", "two"))
    move_up(ws, second)
    third = submit_run(ws, make_request("three"))
    assert [run for run, _ in waiting_runs(ws)] == [second, first, third]


def test_a_run_that_saves_memory_gives_freed_blocks_back(ws, make_request, monkeypatch):
    seen = []

    def spawn(ws, run, launch):
        seen.append(launch.lean)
        return ProcessMark.own()

    monkeypatch.setattr("medlora.runs.queue.spawn_worker", spawn)
    saving = make_request("two", config={"training": {"gradient_checkpointing": True}})
    packed = make_request("four", config={"model": {"quantization_config": {"load_in_4bit": True}}})
    short = make_request("three")
    for request in (make_request("one"), saving, packed, short):
        run = submit_run(ws, request)
        if request is short:
            append_event(
                run, "smaller_batch", micro_batch=1, accumulation=4, step=0, message="Memory ran out"
            )
        dispatch(ws)
        append_event(run, "ended", status="failed")
    assert seen == [False, True, True, True]
