"""The repository as a Space, as far as it can be looked at without the Hub."""

from __future__ import annotations

import json
from pathlib import Path

from tests.browser.conftest import HARDWARE, find_free_port
from tests.check_space import findings, findings_after, running_space


def test_an_anonymous_visitor_of_a_space_finds_an_honest_demo_and_leaves_nothing(tmp_path: Path) -> None:
    hardware = tmp_path / "hardware.json"
    hardware.write_text(json.dumps(HARDWARE), encoding="utf-8")
    more = {"MEDLORA_HARDWARE": str(hardware)}
    with running_space(tmp_path, find_free_port(), more=more) as url:
        wrong = [what for what, right in findings(url) if not right]
    assert wrong == []
    assert [what for what, right in findings_after(tmp_path) if not right] == []
