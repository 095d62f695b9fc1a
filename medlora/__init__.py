"""medlora: from a JSONL file to a LoRA adapter, tested in a browser chat behind a safety layer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medlora.config.api import estimate_memory_usage, load_config, validate_config

__version__ = "0.1.0"
__all__ = ["estimate_memory_usage", "load_config", "validate_config"]


def __getattr__(name: str) -> Any:
    """Why: `import medlora` stays instant; the configuration is read when it is asked for."""
    if name in __all__:
        return getattr(import_module("medlora.config.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
