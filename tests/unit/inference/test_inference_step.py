"""A decoding step says what the model says, alone or with others, whole or packed, with any adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PeftModelForCausalLM
from transformers import AutoModelForCausalLM

from medlora.inference.decode import Decoder, Identity
from medlora.inference.low_rank import Voice
from medlora.inference.packing import pack
from medlora.inference.projection import Form, Projection
from medlora.inference.step import Step, find_step
from medlora.inference.voices import find_voice
from tests.speaking_models import attach_lora
from tests.tiny_models import FAMILIES, make_tiny_model

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
PROMPT = [(7 * i + i * i) % 400 + 40 for i in range(75)]
STEPPED = ("llama", "qwen2", "qwen3", "phi3", "gemma", "mistral")


HALF = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="16-bit copies need an x86 processor"
)
FORMS = [None, "eight_bit", pytest.param("half", marks=HALF)]


def _load(folder: Path) -> Any:
    """Weights as they are published: 16 bits hold them."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(weight.bfloat16())
    return model


def _step(model: Any) -> Step:
    step = find_step(model)
    assert step is not None
    return step


def _pack(step: Step, form: Form | None) -> None:
    for projection in (*step.projections, step.head):
        projection.unpack()
        assert form is None or projection.pack(form)


def _follow(decoder: Decoder, identities: list[Identity], prompts: list[list[int]], count: int) -> Any:
    """Greedy answers that grow together: tokens and logits per answer."""
    opened = [decoder.open(each, ids, lambda: False) for each, ids in zip(identities, prompts, strict=True)]
    logits: Any = [each.logits for each in opened if each is not None]
    tokens: list[list[int]] = [[] for _ in opened]
    for _ in range(count):
        for said, scores in zip(tokens, logits, strict=True):
            said.append(int(scores.argmax()))
        logits = decoder.advance([each for each in opened if each], [said[-1] for said in tokens])
    return tokens, [scores.clone() for scores in logits]


@pytest.mark.parametrize("form", [None, pytest.param("half", marks=HALF)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_says_what_the_model_says_or_there_is_none(
    tmp_path: Path, family: str, form: Form | None
) -> None:
    model = _load(make_tiny_model(tmp_path / family, family))
    step = find_step(model)
    assert (step is not None) == (family in STEPPED)
    if step is None:
        return
    _pack(step, form)
    stepped, _ = _follow(Decoder(model, step), [Identity("w")], [PROMPT], 300)
    whole, _ = _follow(Decoder(model), [Identity("w")], [PROMPT], 300)
    assert stepped == whole, "also beyond the room that its states begin with"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", STEPPED)
def test_a_prompt_read_by_the_step_has_the_models_logits(
    tmp_path: Path, family: str, form: Form | None
) -> None:
    """From 8 bits too: prompts are read from the whole weights, but for the head."""
    model = _load(make_tiny_model(tmp_path / family, family))
    step = _step(model)
    _pack(step, form)
    step.head.unpack()
    logits = []
    for decoder in (Decoder(model, step), Decoder(model)):
        opened = decoder.open(Identity("w"), PROMPT, lambda: False)
        assert opened is not None
        logits.append(opened.logits)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_a_model_that_reads_prompts_in_another_way_gets_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _load(make_tiny_model(tmp_path / "tiny"))
    whole = Projection.read
    monkeypatch.setattr(Projection, "read", lambda self, inputs: whole(self, inputs) * 1.01)
    assert find_step(model) is None


def test_a_model_that_does_something_else_gets_no_step(tmp_path: Path) -> None:
    model = _load(make_tiny_model(tmp_path / "tiny"))
    model.model.layers[0].self_attn.scaling *= 3
    assert find_step(model) is not None, "a scale is read off the model"
    forward = model.model.layers[0].mlp.forward
    model.model.layers[0].mlp.forward = lambda hidden: 2 * forward(hidden)
    assert find_step(model) is None


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny base with two adapters of other ranks on other modules."""
    base = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    folders = []
    for number, settings in enumerate(
        ({"r": 4, "target_modules": ["q_proj", "v_proj", "down_proj"]},
         {"r": 8, "target_modules": "all-linear", "use_rslora": True})
    ):  # fmt: skip
        torch.manual_seed(number)
        made = attach_lora(base, init_lora_weights=False, **settings)
        folders.append(tmp_path_factory.mktemp("adapters") / f"a{number}")
        made.save_pretrained(folders[-1])
    model = _load(base)
    step = _step(model)
    peft = PeftModel.from_pretrained(model, folders[0], adapter_name="a0")
    peft.load_adapter(folders[1], adapter_name="a1")
    return model, step, peft.eval()


def _identity(adapted: Any, key: str) -> Identity:
    _, step, peft = adapted
    if not key:
        peft.base_model.disable_adapter_layers()
        return Identity("")
    peft.base_model.enable_adapter_layers()
    peft.set_adapter(key)
    voice = find_voice(peft, key, step)
    assert voice is not None
    return Identity(key, voice)


@pytest.mark.parametrize("form", FORMS)
def test_side_by_side_every_answer_has_the_bits_it_has_alone(adapted: Any, form: Form | None) -> None:
    model, step, _ = adapted
    _pack(step, form)
    keys = ["", "a0", "a1"]
    prompts = [PROMPT, PROMPT[:40], PROMPT[5:]]
    alone = []
    for key, ids in zip(keys, prompts, strict=True):
        alone.append(_follow(Decoder(model, step), [_identity(adapted, key)], [ids], 40))
    decoder = Decoder(model, step, reuse=False)
    opened, said = [], []
    for key, ids in zip(keys, prompts, strict=True):
        opened.append(decoder.open(_identity(adapted, key), ids, lambda: False))
        said.append([int(opened[-1].logits.argmax())])
    for _ in range(40):
        logits = decoder.advance(opened, [tokens[-1] for tokens in said])
        for tokens, scores in zip(said, logits, strict=True):
            tokens.append(int(scores.argmax()))
    for number, (tokens, last) in enumerate(alone):
        assert said[number][:40] == tokens[0]
        assert torch.equal(logits[number], last[0])
    _pack(step, None)


@pytest.mark.parametrize("key", ["a0", "a1"])
def test_a_voice_adds_what_the_adapter_adds(adapted: Any, key: str) -> None:
    model, step, _ = adapted
    identity = _identity(adapted, key)
    stepped, with_step = _follow(Decoder(model, step), [identity], [PROMPT], 60)
    whole, with_model = _follow(Decoder(model), [identity], [PROMPT], 60)
    assert stepped == whole
    torch.testing.assert_close(with_step, with_model)
    _, silent = _follow(Decoder(model, step), [Identity(key)], [PROMPT], 1)
    _, spoken = _follow(Decoder(model, step), [identity], [PROMPT], 1)
    assert not torch.allclose(silent[0], spoken[0]), "the voice is not what makes the difference"


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize(
    "settings",
    [{"use_dora": True}, {"target_modules": ["q_proj", "embed_tokens"]}, {"lora_bias": True}],
    ids=["dora", "embedding", "bias"],
)
def test_an_adapter_that_does_more_has_no_voice(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = _load(make_tiny_model(tmp_path / "tiny"))
    step = _step(model)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, **{"target_modules": ["q_proj"], **settings})
    peft = PeftModelForCausalLM(model, config, adapter_name="a")
    assert find_voice(peft, "a", step) is None


@HALF
def test_weights_that_16_bits_hold_lose_nothing_and_others_stay_whole() -> None:
    torch.manual_seed(0)
    linears = [torch.nn.Linear(48, 24, bias=bias).requires_grad_(False) for bias in (True, True)]
    projection, inputs = Projection(linears), torch.randn(3, 48)
    assert not projection.pack("half"), "random float32 numbers do not fit"
    for linear in linears:
        linear.weight.copy_(linear.weight.bfloat16())
    whole = projection(inputs)
    assert projection.pack("half")
    torch.testing.assert_close(projection(inputs), whole, rtol=1e-6, atol=1e-6)
    linears[0].weight[0, 0] = 1e5
    assert not projection.pack("half"), "beyond the largest number of 16 bits"


def test_rounded_weights_stay_within_half_a_unit_of_what_they_were(tmp_path: Path) -> None:
    step = _step(_load(make_tiny_model(tmp_path / "tiny")))
    projection = step.projections[0]
    inputs = torch.eye(projection.linears[0].in_features)
    whole = projection(inputs).t()
    projection.pack("eight_bit")
    unit = whole.abs().amax(1, keepdim=True) / 127
    assert bool(((projection(inputs).t() - whole).abs() <= 0.6 * unit + 0.004 * whole.abs()).all())


def test_a_copy_that_says_something_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _load(make_tiny_model(tmp_path / "tiny"))
    step = _step(model)
    assert pack(step, model, eight_bit=True)
    assert step.projections[0].packed
    monkeypatch.setattr(torch.Tensor, "round_", lambda weight: weight.mul_(0.5))
    assert not pack(step, model, eight_bit=True)
    assert not any(projection.packed for projection in (*step.projections, step.head))
    assert step.agrees(model, Voice())
