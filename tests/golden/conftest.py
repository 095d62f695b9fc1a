"""Golden tests train for real, on one thread, so that a machine's size does not change a bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.kit import Kit

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.torch)
            # PEFT 0.21 still asks transformers by the old name.
            item.add_marker(pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path / "home")
