"""A folder of models that the developer's shell names is none of these tests' business."""

import pytest


@pytest.fixture(autouse=True)
def no_shared_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDLORA_MODELS", raising=False)
