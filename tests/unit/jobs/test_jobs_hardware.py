from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.torch
def test_the_probe_answers_in_one_line_of_json_with_what_only_torch_knows():
    command = [sys.executable, "-m", "medlora.jobs.hardware"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert {"torch_version", "bitsandbytes", "flash_attn", "kind", "name", "bf16"} <= set(facts)
    if facts["kind"] == "cpu":
        assert facts["bf16"] == (facts["bf16_speedup"] > 1.1)


@pytest.mark.torch
def test_a_package_whose_native_part_does_not_load_is_not_usable(tmp_path, monkeypatch):
    from medlora.jobs.hardware import can_import, read_cpu_name

    (tmp_path / "broken_native.py").write_text("raise OSError('no such library')\n")
    (tmp_path / "sound_native.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert not can_import("broken_native")
    assert not can_import("not_there_at_all")
    assert can_import("sound_native")
    assert read_cpu_name()
