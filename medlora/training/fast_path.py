"""Whether a run uses compiled kernels and fused layers, and the proof that they may be used on its model."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from medlora.models.architecture import ArchitectureFacts
from medlora.training.collate import Example
from medlora.training.device import Setup
from medlora.training.fast_layers import use_fast_layers, use_stock_layers, why_not_fast
from medlora.training.kernels import EAGER, Kernels, compile_kernels
from medlora.training.proof import gradients_agree

# Tokens times parameters: below, compiling for half a minute takes longer than it saves.
# Source: docs/performance.md; about a minute of training the starter model.
_WORTH_COMPILING = 5e12
_SMALLEST_WIDTH = 256


@dataclass(frozen=True)
class FastPath:
    """The kernels in use. lacking: why they are not the compiled ones although they were wished for."""

    kernels: Kernels = EAGER
    lacking: str | None = None

    @property
    def notice(self) -> str | None:
        if self.lacking is None:
            return None
        return f"The layers run without compiled kernels, about a fifth slower ({self.lacking})."


def is_worth_compiling(setup: Setup, facts: ArchitectureFacts, tokens: int) -> bool:
    """Whether this run is a long one, of a kind that has compiled kernels. tokens: of the whole run."""
    fitting = setup.device == "cpu" and setup.flat and setup.attention == "sdpa" and not setup.four_bit
    long = tokens * facts.parameters >= _WORTH_COMPILING
    return fitting and long and facts.hidden_size >= _SMALLEST_WIDTH


def take_fast_path(model: PeftModel, examples: Sequence[Example], setup: Setup, cache: Path) -> FastPath:
    """Compiled kernels in fused layers where the setup wishes for them and they are proven on this model.

    cache: where the compiler's work is kept for the next run.
    """
    if not setup.compiled:
        return FastPath()
    lacking = _lacks_compiler() or why_not_fast(model)
    if lacking is not None:
        return FastPath(lacking=lacking)
    kernels = compile_kernels(cache)
    use_fast_layers(model, kernels)
    try:
        if gradients_agree(model, examples, setup, kernels):
            return FastPath(kernels)
        lacking = "their gradients differ from the plain ones on this model"
    except (RuntimeError, OSError) as error:
        lacking = f"the C++ compiler failed: {type(error).__name__}"
    use_stock_layers(model)
    return FastPath(lacking=lacking)


def _lacks_compiler() -> str | None:
    wanted = os.environ.get("CXX", "").split()[:1] or ["cl" if sys.platform == "win32" else "g++", "clang++"]
    return None if any(shutil.which(name) for name in wanted) else "no C++ compiler was found"
