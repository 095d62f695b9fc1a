"""The Train tab and the header read runs from disk, and nothing else."""

from pathlib import Path

import gradio as gr
import pytest

from medlora.errors import UserError
from medlora.runs.events import append_event
from medlora.runs.process import ProcessMark
from medlora.runs.store import RunRequest, create_run
from medlora.services import configure, train
from medlora.ui import new_run, page, run_view, train_tab
from medlora.ui.header import Device, show_header, show_running
from medlora.workspace import RunPaths, Workspace
from tests.adapter_files import write_adapter
from tests.tiny_models import make_tiny_model

CHAT_BUTTON, STOP_BUTTON, RESUME_BUTTON, UP_BUTTON, LONGER, SEEN = 12, 9, 11, 13, 14, 16


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def run(workspace: Workspace) -> RunPaths:
    request = RunRequest(config={}, dataset={"name": "letters"}, adapter_name="letters-starter")
    made = create_run(workspace, request)
    append_event(made, "queued", ticket=1)
    return made


def begin(run: RunPaths) -> None:
    mark = ProcessMark.own()
    append_event(run, "started", pid=mark.pid, pid_start=mark.start, resumed_from=None)
    append_event(run, "plan", total_steps=10, rows_train=90, rows_eval=10, device="cpu")
    for step in (1, 2):
        append_event(run, "step", step=step, total_steps=10, loss=3.0 / step, learning_rate=1e-4, eta_s=95.0)


def test_without_a_run_the_tab_says_what_to_do_and_then_stays_still(workspace: Workspace) -> None:
    drawn = train_tab.draw_run(workspace, None, "")
    assert drawn is not None and drawn[1] == {"__type__": "update", "visible": True}
    assert train_tab.draw_run(workspace, None, drawn[-1]) is None


def test_a_going_run_is_drawn_from_its_first_point_and_redrawn_only_when_it_changed(
    workspace: Workspace, run: RunPaths
) -> None:
    begin(run)
    drawn = train_tab.draw_run(workspace, None, "")
    assert drawn is not None
    assert drawn[0]["value"] == run.run_id
    assert "Training letters-starter. It is safe to close this tab." in drawn[3]
    assert "polyline" in drawn[5] and "3 at step 1, 1.5000 at step 2" in drawn[5]
    assert (drawn[STOP_BUTTON]["visible"], drawn[CHAT_BUTTON]["visible"]) == (True, False)
    assert train_tab.draw_run(workspace, run.run_id, drawn[SEEN]) is None
    append_event(run, "step", step=3, total_steps=10, loss=0.9)
    assert train_tab.draw_run(workspace, run.run_id, drawn[SEEN]) is not None


def test_a_failed_run_says_why_and_offers_to_resume(workspace: Workspace, run: RunPaths) -> None:
    begin(run)
    append_event(
        run, "ended", status="failed", reason="out of memory <b>", hint="lower the batch size", steps=2
    )
    drawn = train_tab.draw_run(workspace, run.run_id, "")
    assert drawn is not None
    assert "letters-starter failed" in drawn[3]
    assert "out of memory &lt;b&gt;\nlower the batch size" in drawn[3]
    assert drawn[RESUME_BUTTON]["visible"] is True


def test_a_finished_run_leads_to_its_chat(workspace: Workspace, run: RunPaths) -> None:
    begin(run)
    append_event(run, "published", adapter="letters-starter", step=10)
    append_event(run, "ended", status="completed", steps=10, seconds=61.0)
    drawn = train_tab.draw_run(workspace, run.run_id, "")
    assert drawn is not None and drawn[CHAT_BUTTON]["visible"] is True
    assert drawn[LONGER]["visible"] is True
    assert train_tab.adapter_of(workspace, run.run_id) == "letters-starter"


def test_a_waiting_run_shows_its_place_and_can_be_moved_or_taken_out(
    workspace: Workspace, run: RunPaths
) -> None:
    begin(run)
    others = [
        create_run(workspace, RunRequest(config={}, dataset={}, adapter_name=name)) for name in ("one", "two")
    ]
    for ticket, other in enumerate(others, start=2):
        append_event(other, "queued", ticket=ticket)
    drawn = train_tab.draw_run(workspace, others[1].run_id, "")
    assert drawn is not None
    assert "2 runs come before it; this one starts by itself." in drawn[3]
    assert drawn[STOP_BUTTON]["value"] == "Take out of the queue"
    assert drawn[UP_BUTTON]["visible"] is True
    train.move_up(workspace, others[1].run_id)
    drawn = train_tab.draw_run(workspace, others[1].run_id, drawn[SEEN])
    assert drawn is not None
    assert "One run comes before it; this one starts by itself." in drawn[3]
    assert drawn[UP_BUTTON]["visible"] is False


def test_the_header_shows_the_run_from_anywhere(workspace: Workspace, run: RunPaths) -> None:
    begin(run)
    job = page.find_running(workspace)
    assert job is not None
    shown = show_running(job)
    assert "Training letters-starter" in shown
    assert "step 2 of 10 · 2 min left" in shown and 'aria-valuenow="20"' in shown


def test_the_header_is_quiet_without_a_run(workspace: Workspace) -> None:
    assert page.find_running(workspace) is None
    assert show_running(None) == ""


def test_the_header_tells_the_device_and_only_claims_to_be_local_when_it_is() -> None:
    device = Device("CPU, 4 cores", 5.25, 8.0)
    assert "CPU, 4 cores, 5.2 GiB of 8.0 GiB free" in show_header(device, local=True)
    assert "nothing leaves this machine" in show_header(device, local=True)
    assert "nothing leaves this machine" not in show_header(None, local=False)
    assert "Not a medical device" in show_header(None, local=False)


def test_a_start_without_a_dataset_is_refused_in_words(workspace: Workspace) -> None:
    with pytest.raises(UserError) as caught:
        new_run.start_run(workspace, None, "")
    assert str(caught.value) == "dataset: none is chosen; add one in the Data tab"


def test_a_long_run_that_has_just_begun_is_not_squeezed_against_the_axis() -> None:
    from medlora.runs.state import Point, RunState

    state = RunState(step=3, total_steps=100_000, loss_points=[Point(1, 3.0), Point(3, 2.0)])
    drawn = run_view.show_loss(state)
    points = drawn.split('points="')[1].split('"')[0].split()
    assert float(points[1].split(",")[0]) - float(points[0].split(",")[0]) > 20


def test_a_look_that_answers_late_does_not_take_back_the_run_that_was_started(
    workspace: Workspace, run: RunPaths
) -> None:
    begin(run)
    looked = train_tab.follow_run(workspace, run.run_id, "")
    assert looked is not None
    assert "value" not in looked[0] and [key for _, key in looked[0]["choices"]] == [run.run_id]
    gone = train_tab.follow_run(workspace, "20200101-000000-gone-0000", "")
    assert gone is not None and gone[0]["value"] == run.run_id
    pressed = train_tab.draw_run(workspace, run.run_id, "")
    assert pressed is not None and pressed[0]["value"] == run.run_id
    assert train_tab.follow_run(workspace, run.run_id, looked[SEEN]) is None


def test_the_header_says_where_words_may_go_instead_of_claiming_to_be_local() -> None:
    shown = show_header(None, local=True, remote="gpu.example:8000")
    assert "Remote: gpu.example:8000" in shown and "nothing leaves" not in shown


def test_the_checks_are_made_again_when_a_run_has_ended_and_not_at_every_step(
    workspace: Workspace, run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medlora.services import configure, data

    monkeypatch.setenv("MEDLORA_HARDWARE", str(Path(__file__).with_name("hardware_cpu.json")))
    configure.start_draft(workspace, "starter")
    dataset = data.use_sample(workspace).name
    begin(run)
    shown, seen = new_run.recheck(workspace, None, dataset)
    assert shown == gr.skip(), "the tab was just opened and shows them already"
    append_event(run, "step", step=3, total_steps=10, loss=0.9)
    assert new_run.recheck(workspace, seen, dataset) == [gr.skip(), gr.skip()]
    assert "letters-starter is training or waiting" in new_run.show_checks(workspace, dataset)
    append_event(run, "ended", status="completed", steps=10, seconds=61.0)
    shown, seen = new_run.recheck(workspace, seen, dataset)
    assert "ml-checks" in shown and "is training" not in shown


def test_a_stopped_run_tells_of_its_checkpoint(workspace: Workspace, run: RunPaths) -> None:
    append_event(run, "checkpoint", step=40, name="checkpoint-40")
    append_event(run, "ended", status="stopped")
    shown = run_view.show_status(train.view(workspace, run.run_id))
    assert "What was learned up to step 40 is kept as a checkpoint. Resume goes on from there." in shown


def test_a_run_may_go_on_from_the_adapters_on_its_base_model(workspace: Workspace, tmp_path: Path) -> None:
    write_adapter(make_tiny_model(tmp_path / "tiny"), workspace.adapters / "kind")
    configure.save_draft(workspace, "model:\n  base_model_name: acme/other\n")
    assert new_run.offer_parents(workspace, "kind")["visible"] is False
    configure.save_draft(workspace, "model:\n  base_model_name: acme/tiny\n")
    offered = new_run.offer_parents(workspace, "kind")
    assert (offered["visible"], offered["value"]) == (True, "kind")
    assert offered["choices"] == [("fresh weights", ""), ("kind", "kind")]
