"""How many records are computed at once: the effective batch cut into as few portions as are fast and fit."""

from __future__ import annotations

from collections.abc import Sequence

from medlora.config.memory import ShapeLike
from medlora.config.schema import Config

# One portion may use this share of the memory that is free. More tokens than this are no faster.
_PORTION_SHARE = 0.25
_PORTION_TOKENS = 2048
_GPU_PORTION_TOKENS = 16_384


def cut_batches(
    config: Config, shape: ShapeLike, lengths: Sequence[int], free_bytes: float
) -> tuple[int, int]:
    """(micro-batch, accumulation) with the config's product, in as few portions as are fast and fit.

    Why: on a CPU a large matrix product is faster than several small ones, and the result is the same.
    The longest records that could meet in one portion decide; one record is the least.
    """
    most = float(_PORTION_TOKENS)
    if not config.training.gradient_checkpointing:
        most = min(most, free_bytes * _PORTION_SHARE / activation_bytes(shape))
    return _cut(config, lengths, most, 1)


def join_batches(
    config: Config, shape: ShapeLike, lengths: Sequence[int], free_bytes: float
) -> tuple[int, int]:
    """The same for a GPU, on which a portion is never cut below what the config asks for.

    Why: a step of few tokens leaves a GPU waiting for the processor that feeds it. Whether the longest
    records fit after all is tried before the run, and a portion that does not is halved.
    """
    token = float(activation_bytes(shape))
    if config.training.gradient_checkpointing:
        token = token / shape.layers + 4 * shape.layers * shape.hidden_size
    most = min(_GPU_PORTION_TOKENS, free_bytes * _PORTION_SHARE / token)
    return _cut(config, lengths, most, config.training.per_device_train_batch_size)


def _cut(config: Config, lengths: Sequence[int], most: float, least: int) -> tuple[int, int]:
    """The largest portion whose longest records have at most `most` tokens; `least` records if none has."""
    effective = config.training.per_device_train_batch_size * config.training.gradient_accumulation_steps
    longest = sorted(lengths, reverse=True)
    for portion in range(effective, least, -1):
        if effective % portion == 0 and sum(longest[:portion]) <= most:
            return portion, effective // portion
    return least, effective // least


def activation_bytes(shape: ShapeLike) -> int:
    """Rough memory that one token takes between forward and backward pass, four bytes a number.

    Why these counts: per layer about 16 vectors of the model's width (norms, projections, residuals) and
    6 of the inner width are kept for the backward pass.
    """
    return 4 * shape.layers * (16 * shape.hidden_size + 6 * shape.intermediate_size)
