"""The repository as a Space, as far as it can be looked at without the Hub."""

from __future__ import annotations

from pathlib import Path

from tests.browser.conftest import find_free_port
from tests.check_space import findings, running_space


def test_an_anonymous_visitor_of_a_space_finds_an_honest_demo_and_leaves_nothing(tmp_path: Path) -> None:
    with running_space(tmp_path, find_free_port()) as url:
        wrong = [what for what, right in findings(url) if not right]
    assert wrong == []
    assert list((tmp_path / "tmp").glob("medlora-demo-*")) == []
