"""What the tests of the chat process share: tiny models and adapters, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.speaking_models import SAYS, make_speaking_adapter
from tests.tiny_models import make_tiny_model


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speaking_adapter(tiny_base, tmp_path_factory.mktemp("adapter") / "kind", SAYS)
