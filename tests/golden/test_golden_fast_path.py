"""The fused layers against the library's own, family by family, and that nothing about a run shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from medlora.training.collate import FlatCollator
from medlora.training.fast_layers import stock_layers, use_fast_layers, why_not_fast
from medlora.training.fast_path import is_worth_compiling, take_fast_path
from medlora.training.fit import run_decoder
from medlora.training.kernels import EAGER
from medlora.training.loss import label_loss
from medlora.training.proof import gradients_agree
from tests.golden.kit import Kit, end_of, events_of
from tests.golden.test_golden_trajectory import _shake_adapter, make_model, plain_setup, read_examples

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "phi3"]
EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_fast(kit: Kit, family: str, **changes: dict[str, Any]) -> tuple[Any, list[Any]]:
    config = kit.config(family, **changes)
    model, _ = make_model(config, plain_setup(flat=True))
    _shake_adapter(model)
    assert why_not_fast(model) is None
    use_fast_layers(model, EAGER)
    return model, read_examples(kit, config).train[:4]


def gradients_of(model: Any, rows: list[Any]) -> list[torch.Tensor]:
    batch = FlatCollator()(rows)
    batch.pop("labels")
    targets = batch.pop("shift_labels")
    base = model.get_base_model()
    model.zero_grad()
    hidden = run_decoder(model, base, batch)
    loss = label_loss(hidden, base.get_output_embeddings().weight, targets)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.requires_grad)]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], EVERYWHERE], ids=["two", "all"])
def test_fused_layers_compute_the_same_loss_and_gradients(kit: Kit, family: str, targets: list[str]) -> None:
    model, rows = make_fast(kit, family, lora={"lora_dropout": 0.0, "target_modules": targets})
    ours = gradients_of(model, rows)
    with stock_layers(model):
        theirs = gradients_of(model, rows)
    assert_equal(ours, theirs)
    assert gradients_agree(model, rows, plain_setup(flat=True), EAGER)


def test_checkpointing_and_dropout_draw_the_same_masks_again(kit: Kit) -> None:
    outcomes = []
    for checkpointing in (False, True):
        training = {"gradient_checkpointing": checkpointing}
        model, rows = make_fast(kit, "llama", lora={"lora_dropout": 0.3}, training=training)
        model.train()
        torch.manual_seed(3)
        outcomes.append(gradients_of(model, rows))
    assert_equal(*outcomes)


def test_dropout_leaves_the_mean_of_the_gradients_where_it_was(kit: Kit) -> None:
    """Many draws of our dropout and of PEFT's have the same mean, which is not the gradient without it."""
    model, rows = make_fast(kit, "llama", lora={"lora_dropout": 0.5})
    model.train()
    means = []
    for stock in (False, True):
        torch.manual_seed(0)
        drawn = [gradients_of_layers(model, rows, stock) for _ in range(60)]
        means.append(torch.stack(drawn))
    apart = means[0].mean(0) - means[1].mean(0)
    error = ((means[0].var(0) + means[1].var(0)) / 60).sqrt()
    assert float((apart / error.clamp_min(1e-9)).square().mean()) == pytest.approx(1.0, abs=0.35)
    spread = means[0].var(0).sum() / means[1].var(0).sum()
    assert float(spread) == pytest.approx(1.0, abs=0.15)


def gradients_of_layers(model: Any, rows: list[Any], stock: bool) -> torch.Tensor:
    if stock:
        with stock_layers(model):
            return torch.cat([part.flatten() for part in gradients_of(model, rows)])
    return torch.cat([part.flatten() for part in gradients_of(model, rows)])


def test_a_mistake_in_a_kernel_is_found_on_the_model_itself(kit: Kit) -> None:
    from dataclasses import replace

    model, rows = make_fast(kit, "llama", lora={"lora_dropout": 0.0})
    wrong = replace(EAGER, softmax_back=lambda gradient, chances, scale: gradient * chances * scale)
    use_fast_layers(model, wrong)
    assert not gradients_agree(model, rows, plain_setup(flat=True), wrong)


def test_the_adapter_loads_in_plain_peft_with_equal_outputs(kit: Kit, tmp_path: Path) -> None:
    for family in ("llama", "phi3"):
        model, rows = make_fast(kit, family, lora={"lora_dropout": 0.0})
        model.save_pretrained(tmp_path / family, save_embedding_layers=False)
        folder = kit.config(family).model.base_model_name
        plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / family)
        ids = torch.tensor([rows[0]["input_ids"]])
        batch = FlatCollator()(rows[:1])
        model.eval()
        with torch.no_grad():
            ours = run_decoder(model, model.get_base_model(), {k: batch[k] for k in FAST_INPUTS})
            theirs = plain.eval()(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


FAST_INPUTS = ("input_ids", "position_ids", "borders")


def test_layers_that_are_more_than_plain_lora_stay_as_they_are(kit: Kit) -> None:
    model, _ = make_model(kit.config(lora={"bias": "all"}), plain_setup(flat=True))
    assert why_not_fast(model) is None  # the tiny llama has no biases
    model, _ = make_model(kit.config("qwen2", lora={"bias": "all"}), plain_setup(flat=True))
    assert why_not_fast(model) == "a layer of the base model is trained itself"
    model, _ = make_model(kit.config("gemma"), plain_setup())
    assert why_not_fast(model) == "there are none for the architecture gemma"


def test_only_a_long_run_of_a_real_model_is_worth_compiling() -> None:
    from medlora.models.architecture import built_in_facts

    facts = built_in_facts("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert facts is not None
    assert is_worth_compiling(plain_setup(flat=True), facts, 100_000)
    assert not is_worth_compiling(plain_setup(flat=True), facts, 1_000)
    assert not is_worth_compiling(plain_setup(flat=True, four_bit=True), facts, 100_000)
    assert not is_worth_compiling(plain_setup(flat=False), facts, 100_000)


def test_without_a_compiler_the_run_goes_on_with_a_notice(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    run = kit.make_run(
        kit.config(training={"max_steps": 2, "save_steps": 2}),
        setup={"flat": True, "label_only": True, "compiled": True},
    )
    assert kit.work(run) == 0, end_of(run)
    messages = [event["message"] for event in events_of(run, "notice")]
    expected = "The layers run without compiled kernels, about a fifth slower (no C++ compiler was found)."
    assert expected in messages


def test_fused_layers_are_off_unless_the_setup_asks(kit: Kit) -> None:
    model, rows = make_fast(kit, "llama")
    assert take_fast_path(model, rows, plain_setup(flat=True), kit.ws.private / "kernels").kernels is EAGER
