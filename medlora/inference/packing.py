"""Smaller copies of the weights, which a decoding step on a processor reads instead of the whole ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import torch

from medlora.inference.low_rank import Voice
from medlora.inference.projection import Form
from medlora.inference.step import Step

_BYTES: dict[Form, int] = {"half": 2, "eight_bit": 1}
# Beside the copy: what making it takes, and room for conversations.
_HEADROOM = 1.3
# How far logits of rounded weights may be from the model's, relative to the largest: a wrong formula is one.
_ROUNDED = 0.15


def pack(step: Step, model: Any, *, eight_bit: bool) -> bool:
    """Pack every projection, head included, where memory suffices; whether answers come from 8 bits now.

    Why no trial of what is faster: the choice would change the last bits of an answer from start to start.
    Why only on a processor: on a GPU the 4-bit base has the same effect.
    Source: benchmarks/chat.py measures speed, perplexity and how often the likeliest token stays the same.
    """
    form: Form = "eight_bit" if eight_bit else "half"
    everything = [*step.projections, step.head]
    needed = _BYTES[form] * sum(projection.weights for projection in everything)
    fitting = eight_bit or (
        step.dtype is torch.float32 and "fbgemm" in torch.backends.quantized.supported_engines
    )
    enough = _HEADROOM * needed <= psutil.virtual_memory().available
    if step.device.type != "cpu" or not fitting or not enough:
        return False
    whole, step.tolerance = step.tolerance, _ROUNDED if eight_bit else step.tolerance
    try:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(lambda projection: projection.pack(form), everything))
        if step.agrees(model, Voice()):
            return eight_bit
    except (AttributeError, NotImplementedError, RuntimeError):
        pass
    step.tolerance = whole
    for projection in everything:
        projection.unpack()
    return False
