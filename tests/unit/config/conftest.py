"""A folder of templates, and a short way to resolve a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from medlora.config.resolve import Resolved, TemplateSearch, resolve_text
from medlora.errors import ConfigError

SHIPPED = Path(__file__).resolve().parents[3] / "configs"
Resolve = Callable[..., Resolved]


@pytest.fixture
def search(tmp_path: Path) -> TemplateSearch:
    """The user's folder first, then the shipped templates; datasets from the temporary folder."""
    (tmp_path / "configs").mkdir()
    return TemplateSearch((tmp_path / "configs", SHIPPED), (tmp_path,))


@pytest.fixture
def resolve(search: TemplateSearch) -> Resolve:
    def resolve_here(
        text: str, env: Mapping[str, str] | None = None, sets: Sequence[str] = (), **more: bool
    ) -> Resolved:
        return resolve_text(text, name="c.yaml", search=search, env=env, sets=sets, **more)

    return resolve_here


@pytest.fixture
def refuse(resolve: Resolve) -> Callable[..., list[str]]:
    """What is said of a text that must be refused."""

    def refuse_here(text: str, **more: object) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            resolve(text, **more)
        return [str(problem) for problem in caught.value.problems]

    return refuse_here
