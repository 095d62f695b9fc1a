"""What tells a model's weights from any others."""

from __future__ import annotations

import hashlib
from pathlib import Path

from medlora.models.files import ModelFiles


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_model(model: ModelFiles) -> str:
    """SHA-256 of the base model's one weight file, or of the digests of several by name."""
    if model.weight_hash:
        return model.weight_hash
    digests = [hash_file(path) for path in sorted(model.path.glob("*.safetensors"))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
