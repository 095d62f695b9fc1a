"""The terminal chat: the same safety settings as elsewhere, and a warning before a name is sent."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDLORA_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_configurations_country_counts_and_no_model_is_needed(home: Path) -> None:
    config = home / "here.yaml"
    config.write_text("base_template: starter\nsafety: {country: GB}\n", encoding="utf-8")
    words = ["chat", "--config", str(config), "--message", "he is not breathing"]
    told = CliRunner().invoke(cli, words).stdout
    assert told.startswith("Call 999 now.") and "[emergency, block; no model was asked]" in told


def test_a_message_that_may_name_a_person_is_warned_of_without_quoting_it() -> None:
    message = "My patient Mr. John Smith, MRN 12345678, is not breathing"
    result = CliRunner().invoke(cli, ["chat", "--message", message])
    assert result.stderr.startswith("This may identify a person: ") and "Smith" not in result.stderr
