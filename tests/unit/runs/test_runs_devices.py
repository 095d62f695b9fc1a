from __future__ import annotations

import pytest

from medlora.runs.devices import choose_device, gpu_environment, in_each_others_way
from medlora.runs.queue import dispatch, submit_run


@pytest.mark.parametrize(
    ("training", "has_gpus", "device"),
    [
        ({"devices": [0, 2], "num_processes": 2}, True, "0,2"),
        ({"devices": [3, 1], "num_processes": 1}, True, "3"),
        ({"devices": "all", "num_processes": 2}, True, "main"),
        ({"devices": [0, 2], "num_processes": 2}, False, "main"),
        ({}, True, "main"),
    ],
)
def test_a_run_owns_the_gpus_it_names_and_else_the_machine(training, has_gpus, device):
    assert choose_device(training, has_gpus=has_gpus) == device


def test_runs_that_share_a_gpu_are_in_each_others_way():
    assert in_each_others_way("0,1", "1")
    assert in_each_others_way("main", "3")
    assert not in_each_others_way("0,1", "2")


@pytest.mark.parametrize(
    ("training", "offered", "seen"),
    [
        ({"num_processes": 1}, None, "0"),
        ({"num_processes": 2, "devices": "all"}, None, "0,1"),
        ({"num_processes": 1, "devices": [1]}, None, "1"),
        ({"num_processes": 1, "devices": [1]}, "4,7", "7"),
        ({"num_processes": 1}, "", ""),
    ],
)
def test_a_process_sees_its_own_gpus_and_no_others(training, offered, seen):
    environ = {} if offered is None else {"CUDA_VISIBLE_DEVICES": offered}
    first = gpu_environment(training, environ)
    assert first["CUDA_VISIBLE_DEVICES"] == seen
    # A worker starts the next run: that one counts from what the app saw, not from what the worker sees.
    assert gpu_environment(training, environ | first) == first


def test_runs_on_different_gpus_start_together_and_nobody_is_overtaken(ws, make_request, worker):
    one, both, two, again = (
        submit_run(ws, make_request(name, device=device))
        for name, device in (("one", "0"), ("both", "0,1"), ("two", "2"), ("again", "1"))
    )
    # `again` could start on GPU 1 at once, but `both` was there before it and waits for that GPU too.
    assert dispatch(ws, worker("slow")) == [one.run_id, two.run_id]
    assert not {both.run_id, again.run_id} & set(dispatch(ws, worker("slow")))
