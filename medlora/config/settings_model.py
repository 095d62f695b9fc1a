"""The sections `model` and `lora`: what is trained, and how small the trained part is."""

from __future__ import annotations

from typing import Literal

from medlora.config.declare import Section, setting

RANK_GUIDANCE = (
    (8, "minimal adaptation: fastest, least memory"),
    (16, "light adaptation: good for simple tasks"),
    (32, "balanced adaptation: recommended for most uses"),
    (64, "heavy adaptation: better for complex tasks"),
    (128, "maximum adaptation: most memory"),
)


class QuantizationSettings(Section):
    """How the frozen base weights are kept in memory."""

    load_in_4bit: bool = setting(
        False,
        "4-bit base model",
        "Keep the base model's weights in 4 bits instead of 16. Needs about a quarter of the memory; "
        "the adapter itself is trained in full precision. Without it the weights stay in 16 or 32 bits.",
        source="QLoRA (Dettmers et al. 2023)",
    )
    bnb_4bit_compute_dtype: Literal["float16", "bfloat16", "float32"] = setting(
        "float16",
        "Computation precision",
        "The precision in which 4-bit weights are multiplied. A machine without it uses the nearest.",
        source="the configuration manual",
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting(
        "nf4",
        "4-bit number format",
        "nf4 suits weights that are normally distributed, as those of language models are.",
        source="QLoRA (Dettmers et al. 2023), section 3",
    )
    bnb_4bit_use_double_quant: bool = setting(
        True,
        "Double quantization",
        "Also compress the scale factors of the 4-bit weights: saves about 0.4 bits per weight.",
        source="QLoRA (Dettmers et al. 2023), section 3",
    )


class ModelSettings(Section):
    """Which base model is adapted and how it is loaded."""

    base_model_name: str = setting(
        "starter",
        "Base model",
        "The model to adapt: `starter` (small, comes with the app, works without a GPU), a name on the "
        "Hugging Face Hub such as microsoft/Phi-4-mini-instruct (`owner/model@commit` pins it), or a local "
        "folder.",
        min_length=1,
        max_length=300,
        bounds="the name of a model, such as starter or microsoft/Phi-4-mini-instruct",
        source="works on every machine with nothing else to download",
    )
    trust_remote_code: bool = setting(
        False,
        "Trust remote code",
        "Accepted so that older files keep working, but always off: code that comes with a model could do "
        "anything on this machine. The supported families need none.",
        source="remote code in model repositories has been used for attacks",
    )
    device_map: str = setting(
        "auto",
        "Device map",
        "Where the model's layers go. `auto` is what the app does on its own; nothing needs to be set.",
        max_length=40,
        bounds="auto, cpu, cuda or mps",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?|balanced|balanced_low_0|sequential)$",
    )
    quantization_config: QuantizationSettings = setting(
        QuantizationSettings(), "Quantization", "How the base model's weights are kept in memory."
    )
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = setting(
        "sdpa",
        "Attention",
        "How attention is computed. flash_attention_2 is used where its package and an NVIDIA GPU are at "
        "hand; elsewhere sdpa, which gives the same results, takes its place with a notice.",
        source="sdpa is part of PyTorch and works on every device",
    )


class LoraSettings(Section):
    """The adapter: few new weights beside frozen ones."""

    r: int = setting(
        32,
        "Rank (r)",
        "How much the adapter can learn. A higher rank has more trainable weights, needs more memory, and "
        "with little data learns it by heart sooner.",
        ge=1,
        le=1024,
        guidance=RANK_GUIDANCE,
        source="the configuration manual: balanced, recommended for most uses",
    )
    lora_alpha: int = setting(
        64,
        "Scaling (alpha)",
        "How strongly the adapter acts: its output is multiplied by alpha / r. Typically twice the rank.",
        ge=1,
        le=8192,
        source="the configuration manual: typically twice the rank",
    )
    lora_dropout: float = setting(
        0.1,
        "Dropout",
        "The share of adapter inputs dropped at random while training, against learning by heart. "
        "0.05 is gentler, 0 is fastest.",
        ge=0,
        lt=1,
        source="the configuration manual; QLoRA uses 0.1 for models below 13 B",
    )
    target_modules: list[str] | Literal["all-linear"] = setting(
        "all-linear",
        "Target modules",
        "Which layers get an adapter. `all-linear` fits every model; a list of names must match the model "
        "(Phi-4-mini has qkv_proj, o_proj, gate_up_proj and down_proj).",
        source="QLoRA (Dettmers et al. 2023), figure 2: adapters on all linear layers are needed to match "
        "full fine-tuning",
    )
    bias: Literal["none", "all", "lora_only"] = setting(
        "none",
        "Bias",
        "Which bias terms are trained as well. With `none` the base model answers exactly as before when the "
        "adapter is taken off.",
        source="PEFT's default",
    )
    task_type: Literal["CAUSAL_LM"] = setting(
        "CAUSAL_LM", "Task type", "What is trained: a model that continues text. There is one choice."
    )
    use_rslora: bool = setting(
        False,
        "Rank-stabilised scaling",
        "Divide alpha by the square root of the rank instead of the rank. Helps at ranks of 64 and more.",
        source="rsLoRA (Kalajdzievski 2023)",
    )
    use_dora: bool = setting(
        False,
        "DoRA",
        "Learn the size and the direction of each weight apart. A little better at low ranks, about a "
        "quarter slower.",
        source="DoRA (Liu et al. 2024); PEFT's own benchmark: 26 % more time",
    )
    init_lora_weights: Literal["default", "gaussian", "orthogonal"] = setting(
        "default",
        "Initial weights",
        "How the adapter begins. Each of these leaves the base model's answers as they are at first, and its "
        "weights as they are for good.",
        source="PEFT; PiSSA and OLoRA are not offered, since they rewrite the base model's weights",
    )
    from_adapter: str | None = setting(
        None,
        "Go on from",
        "An adapter of the library to go on from, by its name, instead of fresh weights. It must sit on the "
        "same base model, and its rank, alpha and modules are kept; `train --from NAME` and the Train tab "
        "see to it.",
        min_length=1,
        max_length=64,
        example="clinic-notes-starter",
    )
    modules_to_save: list[str] = setting(
        [],
        "Modules trained whole",
        "Modules that are trained in full beside the adapter and saved with it, such as lm_head. Seldom "
        "needed, and the adapter's file becomes large.",
        source="PEFT",
    )
    layers_to_transform: list[int] | None = setting(
        None,
        "Layers adapted",
        "The numbers of the layers that get an adapter, counted from 0. Without a value: all of them.",
        example="[0, 1]",
        bounds="a list of numbers",
        source="PEFT",
    )
