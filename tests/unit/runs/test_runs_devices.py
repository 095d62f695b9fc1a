from __future__ import annotations

import pytest

from medlora.runs.devices import choose_device, in_each_others_way, visible_gpus
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
    ("training", "environ", "seen"),
    [
        ({"num_processes": 1}, {}, "0"),
        ({"num_processes": 2, "devices": "all"}, {}, "0,1"),
        ({"num_processes": 1, "devices": [1]}, {}, "1"),
        ({"num_processes": 1, "devices": [1]}, {"CUDA_VISIBLE_DEVICES": "4,7"}, "7"),
        ({"num_processes": 1}, {"CUDA_VISIBLE_DEVICES": ""}, ""),
    ],
)
def test_a_process_sees_its_own_gpus_and_no_others(training, environ, seen):
    assert visible_gpus(training, environ) == seen


def test_runs_on_different_gpus_start_together_and_nobody_is_overtaken(ws, make_request, worker):
    one, both, two, again = (
        submit_run(ws, make_request(name, device=device))
        for name, device in (("one", "0"), ("both", "0,1"), ("two", "2"), ("again", "1"))
    )
    # `again` could start on GPU 1 at once, but `both` was there before it and waits for that GPU too.
    assert dispatch(ws, worker("slow")) == [one.run_id, two.run_id]
    assert not {both.run_id, again.run_id} & set(dispatch(ws, worker("slow")))
