"""How much memory a run needs when nothing but the model's number of parameters is known."""

from __future__ import annotations

from dataclasses import dataclass

from medlora.config.memory import GIB, Device, forecast
from medlora.config.schema import Config
from medlora.errors import ConfigError, Problem

GB = 10**9


@dataclass(frozen=True)
class _Shape:
    """A model known by its size alone."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    parameters: int

    @property
    def linear_modules(self) -> dict[str, tuple[int, int]]:
        """Fused as in Phi, and scaled so that the parameters come out right."""
        hidden, inner = self.hidden_size, self.intermediate_size
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "qkv_proj": (hidden, queries + 2 * keys),
            "o_proj": (queries, hidden),
            "gate_up_proj": (hidden, 2 * inner),
            "down_proj": (inner, hidden),
        }


# Published shapes, from 0.1 to 70 billion parameters: SmolLM2 135M, Qwen2.5 0.5B and 1.5B,
# Phi-4-mini, Llama 3 8B, Phi-4, Qwen2.5 32B, Llama 3 70B.
_SHAPES = (
    (0.135, (576, 1536, 30, 9, 3, 64, 49152)),
    (0.494, (896, 4864, 24, 14, 2, 64, 151936)),
    (1.54, (1536, 8960, 28, 12, 2, 128, 151936)),
    (3.84, (3072, 8192, 32, 24, 8, 128, 200064)),
    (8.03, (4096, 14336, 32, 32, 8, 128, 128256)),
    (14.7, (5120, 17920, 40, 40, 10, 128, 100352)),
    (32.8, (5120, 27648, 64, 40, 8, 128, 152064)),
    (70.6, (8192, 28672, 80, 64, 8, 128, 128256)),
)


def estimate_usage(batch_size: int, seq_length: int, model_size: float) -> float:
    """GB for a 4-bit model of that many billion parameters, adapted as the default template does."""
    given = {"batch_size": batch_size, "seq_length": seq_length, "model_size": model_size}
    problems = [
        Problem("", name, f"must be above 0 (got {value}); give a positive number")
        for name, value in given.items()
        if not value > 0
    ]
    if problems:
        raise ConfigError(problems)
    near, sizes = min(_SHAPES, key=lambda known: abs(known[0] - model_size))
    shape = _Shape(*sizes, parameters=round(near * GB))
    config = Config.model_validate(
        {
            "model": {"quantization_config": {"load_in_4bit": True}},
            "training": {"gradient_checkpointing": True, "per_device_train_batch_size": 1},
        }
    )
    data = config.data.model_copy(update={"max_seq_length": batch_size * seq_length})
    config = config.model_copy(update={"data": data})
    parts = forecast(config, shape, Device("cuda"), modules=["qkv_proj", "o_proj"]).parts
    scale = model_size / near
    scaled = sum(size * (1 if part in ("logits", "overhead") else scale) for part, size in parts.items())
    return round(scaled * GIB / GB, 2)
