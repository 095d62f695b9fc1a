"""The forecast counts what a run keeps in memory, part by part."""

from __future__ import annotations

from typing import Any

import pytest

from medlora import estimate_memory_usage
from medlora.config.memory import Device, Forecast, forecast
from medlora.config.schema import Config
from medlora.errors import ConfigError
from medlora.models.architecture import built_in_facts

GPU = Device("cuda", total_gib=6.0, free_gib=5.6)


def _phi(device: Device = GPU, **training: Any) -> Forecast:
    facts = built_in_facts("microsoft/Phi-4-mini-instruct")
    assert facts is not None
    config = Config.model_validate(
        {
            "model": {"quantization_config": {"load_in_4bit": True}},
            "lora": {"r": 32, "target_modules": ["qkv_proj", "o_proj"]},
            "training": {"gradient_checkpointing": True, **training},
        }
    )
    return forecast(config, facts, device)


def test_phi_in_four_bits_with_two_long_records_fits_six_gigabytes() -> None:
    found = _phi()
    assert found.trainable_parameters == 14_680_064
    assert found.parts["weights"] == pytest.approx(2.69, abs=0.02)
    assert found.parts["adapter"] == found.parts["optimizer"] == pytest.approx(0.109, abs=0.001)
    assert 4.4 < found.total_gib < 5.1
    assert found.total_gib == pytest.approx(sum(found.parts.values()), abs=0.01)
    assert found.fits is True


def test_without_four_bits_the_weights_alone_are_seven_gibibytes() -> None:
    assert _phi(Device("cuda", free_gib=5.6, four_bit=False)).parts["weights"] == pytest.approx(
        7.15, abs=0.05
    )
    assert _phi(Device("cuda", free_gib=5.6, four_bit=False)).fits is False


def test_checkpointing_saves_most_of_the_activations() -> None:
    assert _phi(gradient_checkpointing=False).parts["activations"] > 8 * _phi().parts["activations"]


def test_eight_bit_optimizers_hold_a_quarter() -> None:
    ratio = _phi(optim="paged_adamw_8bit").parts["optimizer"] / _phi().parts["optimizer"]
    assert ratio == pytest.approx(0.25, abs=0.01)


def test_a_base_that_is_shared_out_lies_in_parts_but_for_its_head_and_two_layers() -> None:
    whole = _phi(Device("cuda", four_bit=False))
    shared = _phi(Device("cuda", four_bit=False), sharding="full", num_processes=4)
    linear = 3072 * (3072 + 2 * 1024 + 3072 + 3 * 8192)
    fetched = 2 * (200064 * 3072 + 2 * linear) / 2**30
    assert shared.parts["weights"] == pytest.approx(whole.parts["weights"] / 4 + fetched, abs=0.01)
    others = [{**found.parts, "weights": 0.0} for found in (whole, shared)]
    assert others[0] == others[1]
    assert _phi(Device("cuda", four_bit=False), sharding="full").parts == whole.parts


def test_a_smaller_batch_needs_less() -> None:
    assert _phi(per_device_train_batch_size=1).total_gib < _phi().total_gib


def test_the_longest_record_counts_where_it_is_known() -> None:
    facts = built_in_facts("starter")
    assert facts is not None
    config = Config.model_validate({"data": {"max_seq_length": 512}})
    device = Device("cpu", bf16=False, four_bit=False)
    whole, short = (forecast(config, facts, device, longest=longest) for longest in (None, 128))
    assert short.parts["activations"] == pytest.approx(whole.parts["activations"] / 4, rel=0.01)
    assert whole.fits is None


def test_the_estimate_of_the_manuals_case_is_what_a_gpu_really_needs() -> None:
    assert 4.6 <= estimate_memory_usage(batch_size=2, seq_length=2048, model_size=3.8) <= 5.5


def test_the_estimate_grows_with_each_of_its_sizes() -> None:
    base = estimate_memory_usage(2, 2048, 3.8)
    assert estimate_memory_usage(4, 2048, 3.8) > base
    assert estimate_memory_usage(2, 4096, 3.8) > base
    assert estimate_memory_usage(2, 2048, 7) > base
    assert estimate_memory_usage(1, 512, 0.135) < 1.5


def test_an_estimate_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        estimate_memory_usage(0, 2048, -1)
    assert str(caught.value) == (
        "batch_size: must be above 0 (got 0); give a positive number\n"
        "model_size: must be above 0 (got -1); give a positive number"
    )
