"""A demo's short run: bounded in every way, and gone soon after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from medlora.errors import UserError
from medlora.models.hardware import HARDWARE_VARIABLE
from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.runs.process import is_alive
from medlora.services import adapters, data, micro_run, train
from medlora.services.micro_run import Bounds, MicroRuns
from medlora.space.demo import ADAPTER, fill_home
from medlora.workspace import CHECKOUT, Workspace, write_json
from tests.browser.conftest import HARDWARE
from tests.tiny_models import make_tiny_model


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    set_hardware(tmp_path, monkeypatch)
    ws = Workspace.open(tmp_path / "home")
    fill_home(ws, CHECKOUT)
    return ws


def set_hardware(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    write_json(folder / "hardware.json", HARDWARE | changes)
    monkeypatch.setenv(HARDWARE_VARIABLE, str(folder / "hardware.json"))


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs wait in the queue; no worker starts."""
    monkeypatch.setattr(train.queue, "dispatch", lambda ws: [])


def make_runs(tmp_path: Path, clock: Clock, **bounds: Any) -> MicroRuns:
    model = make_tiny_model(tmp_path / "tiny")
    return MicroRuns(Bounds(**bounds), clock, base_model=str(model))


def end(ws: Workspace, run_id: str) -> None:
    append_event(ws.run(run_id), "ended", status="completed")


@pytest.mark.usefixtures("asleep")
def test_one_goes_at_a_time_and_the_machine_rests_between(ws: Workspace, tmp_path: Path) -> None:
    clock = Clock()
    runs = make_runs(tmp_path, clock)
    first = runs.start(ws)
    with pytest.raises(UserError, match="micro-run: one is going already; watch it below"):
        runs.start(ws)
    end(ws, first)
    runs.look(ws)
    clock.now += 20
    with pytest.raises(UserError, match="micro-run: one has just ended; try again in 40 seconds"):
        runs.start(ws)
    clock.now += 40
    second = runs.start(ws)
    kept = [run.run_id for run in train.list_runs(ws)]
    assert second in kept and first not in kept, "the next one takes its place"


@pytest.mark.usefixtures("asleep")
def test_one_that_takes_too_long_is_discarded_and_what_ended_is_removed(
    ws: Workspace, tmp_path: Path
) -> None:
    clock = Clock()
    runs = make_runs(tmp_path, clock)
    run_id = runs.start(ws)
    clock.now += 301
    runs.look(ws)
    assert train.view(ws, run_id).status == "stopped"
    runs.look(ws)
    clock.now += 601
    runs.look(ws)
    assert [run.adapter_name for run in train.list_runs(ws)] == [ADAPTER], "the recorded one stays"
    assert [card.name for card in adapters.list_adapters(ws)] == [ADAPTER]


def test_a_small_machine_offers_none(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = make_runs(tmp_path, Clock())
    assert runs.why_not(ws) == ""
    set_hardware(tmp_path, monkeypatch, ram_free_gib=2.5)
    with pytest.raises(UserError, match=r"too little free memory \(got 2.5 GiB, 4 are needed\)"):
        runs.start(ws)
    set_hardware(tmp_path, monkeypatch, cores=1)
    assert runs.why_not(ws) == "this machine has too few processor cores (got 1, 2 are needed)"


@pytest.mark.torch
def test_a_real_one_ends_with_an_adapter_and_the_end_of_the_demo_ends_one_that_is_going(
    ws: Workspace, tmp_path: Path
) -> None:
    clock = Clock()
    runs = make_runs(tmp_path, clock, steps=2)
    run_id = runs.start(ws)
    deadline = time.monotonic() + 120
    while not (state := observe(ws.run(run_id))).ended and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (state.status, state.step, state.adapter) == ("completed", 2, micro_run.NAME)
    record = train.view(ws, run_id).record
    assert record["dataset"]["sha256"] == data.list_datasets(ws)[0].sha256

    runs.look(ws)
    clock.now += 61
    runs.bounds = Bounds(steps=100_000)
    going = runs.start(ws)
    while (pid := (state := observe(ws.run(going))).pid) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    runs.close(ws)
    while is_alive(pid, state.pid_start) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(pid, state.pid_start)
