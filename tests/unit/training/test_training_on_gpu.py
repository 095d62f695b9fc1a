"""What a run does on a GPU and nowhere else, as far as that can be tried without one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import accelerate.utils
import pytest
import torch
from accelerate import Accelerator
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, TrainerControl, TrainerState

from medlora.config.schema import Config
from medlora.inference.base_model import gpu_dtype
from medlora.jobs import hardware
from medlora.jobs.evaluation import speakers
from medlora.training import attention, device, together
from medlora.training.arguments import training_arguments
from medlora.training.attention import flat_attention
from medlora.training.callbacks import Stopper
from medlora.training.collate import FlatCollator
from medlora.training.device import Setup, choose_setup
from medlora.training.fit import LabelTrainer, NonFiniteLossError
from medlora.training.model import attach_adapter, load_base
from medlora.training.order import EpochOrder
from medlora.training.shortage import try_longest
from tests.tiny_models import make_tiny_model

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
OLD, NEW = False, True


@pytest.fixture
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A card that has bfloat16 (NEW), or one on which torch would imitate it (OLD)."""

    def is_supported(including_emulation: bool = True) -> bool:
        return bool(request.param) or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.delenv("MEDLORA_DEVICE", raising=False)
    return bool(request.param)


def _installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: object() if name in names else None)


def _wanting_all() -> Config:
    return Config.model_validate(
        {
            "model": {
                "attn_implementation": "flash_attention_2",
                "quantization_config": {"load_in_4bit": True},
            },
            "training": {"optim": "paged_adamw_8bit"},
        }
    )


@pytest.mark.parametrize("card", [OLD, NEW], indirect=True)
def test_flash_attention_is_used_on_cards_that_it_runs_on(
    card: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch, "flash_attn", "bitsandbytes")
    setup = choose_setup(_wanting_all(), 64, 128)
    assert setup.attention == ("flash_attention_2" if card else "sdpa")
    assert any("this GPU is too old for it" in notice for notice in setup.notices) is not card
    assert (setup.four_bit, setup.optimizer) == (True, "paged_adamw_8bit")


@pytest.mark.parametrize("card", [NEW], indirect=True)
def test_without_bitsandbytes_a_gpu_trains_with_torch_s_own_optimizer(
    card: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch)
    setup = choose_setup(_wanting_all(), 64, 128)
    assert (setup.four_bit, setup.optimizer, setup.attention) == (False, "adamw_torch", "sdpa")
    assert any("training.optim: paged_adamw_8bit needs bitsandbytes" in notice for notice in setup.notices)
    assert "quantization_config" not in speakers._options(torch.device("cuda"), True)


@pytest.mark.parametrize("card", [OLD, NEW], indirect=True)
def test_chat_and_evaluation_compute_in_the_precision_of_training(card: bool) -> None:
    training = choose_setup(Config(), 64, 128).torch_dtype
    here = torch.device("cuda")
    assert gpu_dtype(here) == training
    assert speakers._options(here, True)["dtype"] == training
    assert speakers._options(here, True)["quantization_config"].bnb_4bit_compute_dtype == training


@pytest.mark.parametrize("card", [OLD, NEW], indirect=True)
def test_the_machine_is_told_to_have_flash_attention_where_it_runs(
    card: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (2**30, 2**31))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a card")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(hardware, "can_import", lambda name: True)
    facts = hardware.describe()
    assert (facts["flash_attn"], facts["bf16"]) == (card, card)


def test_a_card_among_several_of_a_series_without_direct_links_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCCL_P2P_DISABLE", "")
    monkeypatch.delenv("NCCL_P2P_DISABLE")
    monkeypatch.setenv("NCCL_IB_DISABLE", "")
    monkeypatch.delenv("NCCL_IB_DISABLE")
    monkeypatch.setattr(accelerate.utils, "check_cuda_p2p_ib_support", lambda: False)
    training_arguments(Config(), Setup("cuda", "float32", "sdpa", "adamw_torch"), tmp_path, 10, False)
    assert device.os.environ["NCCL_P2P_DISABLE"] == device.os.environ["NCCL_IB_DISABLE"] == "1"


@pytest.mark.parametrize("settings", [{"bias": "all"}, {"modules_to_save": ["norm"]}])
def test_everything_that_is_trained_in_float16_has_gradients_that_its_scaler_takes(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    base = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path, "qwen2"), dtype=torch.float16)
    base.requires_grad_(False)
    setup = Setup("cpu", "float16", "sdpa", "adamw_torch")
    model, _ = attach_adapter(base, Config.model_validate({"lora": settings}), setup, ["q_proj", "v_proj"])
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    scaler, optimizer = torch.amp.GradScaler("cpu"), torch.optim.SGD(trained, lr=0.1)
    with torch.autocast("cpu", torch.float16):
        loss = model(input_ids=torch.tensor([[1, 2, 3]])).logits.float().square().mean()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    assert {weight.dtype for weight in trained} == {torch.float32}


@pytest.mark.parametrize("flash", [True, False])
def test_flat_rows_on_a_gpu_share_heads_only_where_a_kernel_can(
    flash: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "can_use_flash_attention", lambda wanted: flash)
    with FakeTensorMode():
        parts = [torch.zeros(1, heads, 9, 8, device="cuda", dtype=torch.float16) for heads in (4, 2, 2)]
        key, value, grouped = attention._fit_heads(*parts, 0.0)
    assert key.device.type == value.device.type == "cuda"
    assert (key.shape[1], value.shape[1], grouped) == ((2, 2, True) if flash else (4, 4, False))


def test_heads_that_were_repeated_see_what_shared_ones_see(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 9, 8, generator=generator) for heads in (4, 2, 2))
    borders, module = (0, 4, 9), torch.nn.Module()
    shared, _ = flat_attention(module, query, key, value, borders=borders)
    wide = (key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), False)
    monkeypatch.setattr(attention, "_fit_heads", lambda *parts: wide)
    repeated, _ = flat_attention(module, query, key, value, borders=borders, dropout=1e-9)
    torch.testing.assert_close(repeated, shared)


def _one_by_one(*parts: Any, scale: float, window_size: tuple[int, int], enable_gqa: bool = False) -> Any:
    """The answer of the GPU's call, computed in another way: sequence by sequence, under an explicit mask."""
    query, key, value, starts = (part.float() for part in parts[:4])
    assert window_size == (-1, 0) and torch.equal(parts[3], parts[4]) and parts[5] == parts[6]
    if enable_gqa:
        key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    assert query.shape == key.shape == value.shape
    places = torch.arange(len(query))
    own = torch.searchsorted(starts[1:], places.float(), right=True)
    sees = (own[:, None] == own) & (places[:, None] >= places)
    weights = torch.einsum("qhd,khd->hqk", query, key) * scale
    return torch.einsum("hqk,khd->qhd", weights.masked_fill(~sees, -torch.inf).softmax(-1), value)


@pytest.mark.parametrize("shares", [True, False], ids=["torch 2.12 on", "torch 2.11"])
def test_all_sequences_in_one_call_see_what_each_sees_in_its_own(
    shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 9, 8, generator=generator) for heads in (4, 2, 2))
    expected, _ = flat_attention(torch.nn.Module(), query, key, value, borders=(0, 4, 9))
    monkeypatch.setattr(together, "_VARLEN", _one_by_one)
    monkeypatch.setattr(together, "_SHARES_HEADS", shares)
    starts = torch.tensor([0, 4, 9], dtype=torch.int32)
    torch.testing.assert_close(together.attend_together(query, key, value, starts, 5, 8**-0.5), expected)


def test_this_torch_takes_the_one_call_and_gives_back_the_shape_of_the_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "can_use_flash_attention", lambda wanted: True)
    with FakeTensorMode():
        parts = [torch.zeros(1, heads, 9, 8, device="cuda", dtype=torch.bfloat16) for heads in (4, 2, 2)]
        told = {"borders": (0, 4, 9), "cu_seq_lens_q": torch.zeros(3, dtype=torch.int32, device="cuda")}
        called: list[str] = []
        plain = attention.attend_together
        monkeypatch.setattr(attention, "attend_together", lambda *a: called.append("once") or plain(*a))
        seen, _ = flat_attention(torch.nn.Module(), *parts, **told, max_length_q=5)
    assert (called, tuple(seen.shape)) == (["once"], (1, 9, 4, 8))


class _Reads(TorchDispatchMode):
    """Notes each moment at which a program would wait for a number from a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dropout", [0.0, 1e-9], ids=["as on a processor", "piece by piece as on a GPU"])
def test_no_layer_waits_for_a_number_from_the_device(
    dropout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(device="cpu", dtype="float32", attention="sdpa", optimizer="adamw_torch", flat=True)
    model: Any = load_base(make_tiny_model(tmp_path / "base"), "tiny", Config(), setup).train()
    batch = FlatCollator()([{"input_ids": [5] * length, "labels": [5] * length} for length in (7, 3, 12)])
    inputs = {name: value for name, value in batch.items() if "labels" not in name}
    reads, read_lists = _Reads(), 0

    def tolist(tensor: torch.Tensor) -> Any:
        nonlocal read_lists
        read_lists += 1
        return plain(tensor)

    plain = torch.Tensor.tolist
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = dropout
        layer.register_forward_pre_hook(lambda *_: reads.__enter__() and None)
        layer.register_forward_hook(lambda *_: reads.__exit__(None, None, None))
    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    assert torch.tensor([1]).tolist() == [1]
    model(**inputs)
    assert (reads.seen, read_lists) == ([], 1)


class _Stop:
    requested = False


def test_a_stop_within_a_step_gives_back_the_randomness_that_the_step_drew_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = itertools.count()
    on_gpu = [torch.tensor(next(drawn))]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: on_gpu[-1])
    monkeypatch.setattr(torch.cuda, "set_rng_state", on_gpu.append)
    stop, before = _Stop(), on_gpu[-1]
    stopper = Stopper(stop)  # type: ignore[arg-type]
    arguments = training_arguments(
        Config(), Setup("cpu", "float32", "sdpa", "adamw_torch"), tmp_path, 10, False
    )
    state = TrainerState(global_step=1, max_steps=10)
    stopper.on_step_end(arguments, state, TrainerControl())
    on_gpu.append(torch.tensor(next(drawn)))
    stop.requested = True
    stopper.on_substep_end(arguments, state, TrainerControl())
    assert torch.equal(on_gpu[-1], before)


@pytest.fixture
def scaled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """A float16 run on this CPU as on a GPU: accelerate's scaler at work, its first scale as given."""
    plain = Accelerator.__init__

    def with_scaler(self: Any, *args: Any, **settings: Any) -> None:
        plain(self, *args, **settings)
        self.scaler, self.native_amp = torch.amp.GradScaler("cpu", init_scale=request.param), True

    monkeypatch.setattr(Accelerator, "__init__", with_scaler)
    return float(request.param)


def _trainer(folder: Path) -> LabelTrainer:
    training = {"save_steps": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
    config = Config.model_validate({"training": {"num_train_epochs": 1, "learning_rate": 1e-2, **training}})
    setup = Setup("cpu", "float16", "sdpa", "adamw_torch", flat=True, label_only=True)
    base = load_base(make_tiny_model(folder / "base", "qwen2"), "tiny", config, setup)
    model, _ = attach_adapter(base, config, setup, ["q_proj", "v_proj"])
    rows = [
        {"input_ids": list(range(3, end)), "labels": list(range(3, end))} for end in (9, 14, 7, 12, 8, 10)
    ]
    trainer = LabelTrainer(
        label_only=True,
        order=EpochOrder([len(row["labels"]) for row in rows], "random", 1, 2),
        stop=lambda: False,
        model=model,
        args=training_arguments(config, setup, folder / "checkpoints", 3, True),
        data_collator=FlatCollator(),
        train_dataset=rows,
        eval_dataset=rows[:2],
    )
    try_longest(trainer, rows, setup)
    return trainer


@pytest.mark.parametrize("scaled", [2.0**16, 2.0**40], indirect=True)
def test_a_float16_run_leaves_out_the_steps_that_overflow_and_goes_on(scaled: float, tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    trainer.train()
    scale, skipped = trainer.accelerator.scaler.get_scale(), scaled > 2.0**30
    moved = any(bool(w.any()) for name, w in trainer.model.named_parameters() if "lora_B" in name)
    assert (moved, scale < scaled) == (not skipped, skipped)
    again = _trainer(tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    assert (again.state.global_step, again.accelerator.scaler.get_scale()) == (3, scale)


@pytest.mark.parametrize("scaled", [2.0**-8], indirect=True)
def test_a_float16_run_whose_gradients_are_never_numbers_ends(scaled: float, tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    with pytest.raises(NonFiniteLossError, match="the gradient became infinite"):
        trainer._get_grad_norm(trainer.model, torch.tensor(float("inf")))
