from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from medlora.config.schema import Config
from medlora.models.hardware import Hardware
from medlora.services import devices
from medlora.services.devices import Check, check_devices, list_choices, share_of
from medlora.workspace import Workspace

CPU = Hardware("cpu", "A laptop", 16.0, 12.0, 4, 16.0, 12.0, "2.13.0", False, True, False, 0)
TWO_GPUS = replace(CPU, kind="cuda", name="A card", total_gib=24.0, free_gib=20.0, gpus=2)


def asks(**training: object) -> Config:
    return Config.model_validate({"training": training})


@pytest.mark.parametrize(
    ("hardware", "training", "found"),
    [
        (CPU, {}, []),
        (
            CPU,
            {"num_processes": 2},
            [("ok", "2 processes: a step sees 16 rows, 8 in each.")],
        ),
        (
            replace(CPU, cores=1),
            {"num_processes": 2},
            [
                ("notice", "2 processes share 1 cores: more processes than cores are slower."),
                ("ok", "2 processes: a step sees 16 rows, 8 in each."),
            ],
        ),
        (
            CPU,
            {"devices": [0]},
            [("notice", "training.devices has no effect: there is no NVIDIA GPU here, only A laptop.")],
        ),
        (TWO_GPUS, {"devices": [1]}, []),
        (
            TWO_GPUS,
            {"devices": [2]},
            [("problem", "training.devices: there is no GPU 2 here (got [2]); there are GPUs 0 to 1")],
        ),
        (
            TWO_GPUS,
            {"devices": [1], "num_processes": 2},
            [
                (
                    "problem",
                    "training.num_processes: each process needs a GPU of its own, and 1 may be used "
                    "(got 2); lower it, or name more in training.devices",
                ),
                ("ok", "2 processes: a step sees 16 rows, 8 in each."),
            ],
        ),
    ],
)
def test_a_choice_of_devices_is_checked_in_words(hardware, training, found):
    checks = list(check_devices(asks(**training), hardware))
    assert checks == [Check("Devices", status, message) for status, message in found]


def test_each_process_on_a_cpu_has_its_share_of_the_memory(monkeypatch):
    assert share_of(CPU, asks(num_processes=2)).free_gib == 6.0
    cards = [{"name": f"card {n}", "total_gib": 24.0, "free_gib": free} for n, free in enumerate((20.0, 5.0))]
    monkeypatch.setattr(devices, "read_cards", lambda: cards)
    assert share_of(TWO_GPUS, asks(num_processes=2)).free_gib == 5.0
    assert share_of(TWO_GPUS, asks(devices=[0])).name == "card 0"


def test_the_choice_is_offered_where_there_is_one(tmp_path, monkeypatch):
    ws = Workspace.open(tmp_path / "home")
    for hardware, labels in (
        (CPU, []),
        (
            TWO_GPUS,
            ["as the configuration says", "all 2 GPUs together", "GPU 0 alone", "GPU 1 alone"],
        ),
    ):
        file = tmp_path / "hardware.json"
        file.write_text(json.dumps(asdict(hardware)))
        monkeypatch.setenv("MEDLORA_HARDWARE", str(file))
        assert [choice.label for choice in list_choices(ws)] == labels
