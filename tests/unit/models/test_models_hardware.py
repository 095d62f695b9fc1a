from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from medlora.errors import UserError
from medlora.models.hardware import Hardware, cached_hardware, count_cores, read_ram_gib, report_hardware
from medlora.workspace import Workspace

GPU = Hardware(
    kind="cuda",
    name="A card",
    total_gib=24.0,
    free_gib=20.0,
    cores=8,
    ram_total_gib=64.0,
    ram_free_gib=32.0,
    torch_version="2.13.0",
    bf16=True,
    bitsandbytes=True,
    flash_attn=False,
    gpus=1,
)


@pytest.fixture
def ws(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDLORA_HARDWARE", raising=False)
    return Workspace.open(tmp_path / "home")


@pytest.mark.torch
def test_the_machine_is_asked_once_and_its_memory_every_time(ws):
    assert cached_hardware(ws) is None
    first = report_hardware(ws)
    assert first.problem == ""
    assert first.torch_version
    assert first.kind in ("cpu", "cuda", "mps")
    again = cached_hardware(ws)
    assert again is not None
    assert replace(again, free_gib=0, ram_free_gib=0) == replace(first, free_gib=0, ram_free_gib=0)


def test_another_torch_asks_again(ws, monkeypatch):
    ws.cache.mkdir()
    (ws.cache / "hardware.json").write_text(json.dumps({"key": "of another time", "hardware": asdict(GPU)}))
    assert cached_hardware(ws) is None


def test_a_torch_that_cannot_be_used_leaves_a_reason(ws, monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ImportError: libcuda.so.1' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    found = report_hardware(ws)
    assert (found.kind, found.problem) == ("cpu", "torch cannot be used (ImportError: libcuda.so.1)")
    assert cached_hardware(ws) is None


def test_a_file_can_stand_for_the_machine(ws, tmp_path, monkeypatch):
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps(asdict(GPU)))
    monkeypatch.setenv("MEDLORA_HARDWARE", str(file))
    assert report_hardware(ws) == cached_hardware(ws) == GPU
    file.write_text("{}")
    with pytest.raises(UserError, match=r"^env MEDLORA_HARDWARE: the file cannot be used \("):
        report_hardware(ws)


def test_memory_and_cores_are_sane():
    total, free = read_ram_gib()
    assert 0 < free <= total
    assert count_cores() >= 1


def test_a_containers_limit_counts_and_the_files_it_caches_are_free(tmp_path):
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{3 * 2**28}\n")
    assert read_ram_gib(tmp_path) == (1.0, 0.25)
    (tmp_path / "memory.stat").write_text(f"anon {2**28}\ninactive_file {2**29}\nactive_file 0\n")
    assert read_ram_gib(tmp_path) == (1.0, 0.75)
    (tmp_path / "memory.max").write_text("max\n")
    assert read_ram_gib(tmp_path)[0] > 1, "no limit"


def test_the_light_part_imports_nothing_heavy():
    code = (
        "import sys, medlora.models.files, medlora.models.starter, medlora.models.hardware, "
        "medlora.models.hub, medlora.models.architecture, medlora.runs.watchdog; "
        "print(sorted({'torch','transformers','numpy','huggingface_hub','gguf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
