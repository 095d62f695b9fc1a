"""A real app in a process of its own, attacked over its port; no browser is needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.conftest import App, run_app_in


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One app for the tests of a module that do not disturb each other."""
    yield from run_app_in(tmp_path_factory.mktemp("shared"))
