"""The Configure tab's handlers: the text is the source of truth."""

from pathlib import Path

import gradio as gr
import pytest

from medlora.services import configure
from medlora.services.configure_form import FORM_KEYS
from medlora.ui import configure_tab
from medlora.ui.configure_form import field_id, fill_fields, offer_words, show_value
from medlora.ui.configure_view import show_problems
from medlora.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    hardware = Path(__file__).with_name("hardware_cpu.json")
    monkeypatch.setenv("MEDLORA_HARDWARE", str(hardware))
    return Workspace.open(tmp_path / "home")


def test_the_tab_opens_with_a_template_that_suits_the_machine(workspace: Workspace) -> None:
    chosen, audience, text, *_ = configure_tab.open_draft(workspace)
    assert chosen["value"] == "starter"
    assert "laptop without a GPU" in audience
    assert "base_model_name: starter" in text


def test_only_the_first_opening_of_a_page_draws_the_tab(workspace: Workspace) -> None:
    visited, seen, *drawn = configure_tab.open_first(workspace, False)
    chosen, audience, text, *rest = configure_tab.open_draft(workspace)
    assert visited is True and seen == text and drawn[:2] == [chosen, audience] and drawn[3:] == rest
    assert drawn[2]["value"] == text and drawn[2]["visible"] is True
    assert configure_tab.open_first(workspace, True) == []


def test_a_problem_is_shown_with_its_line_and_the_form_waits(workspace: Workspace) -> None:
    problems, origins, _, *fields = configure_tab.draw(workspace, "lora:\n  r: -4\n")
    assert "1 problem to mend" in problems and "<b>Line 2</b>" in problems and "lora.r" in problems
    assert "Mend the problems first" in origins
    assert len(fields) == len(FORM_KEYS) and all(field == fields[0] for field in fields)


def test_the_form_is_filled_from_the_text(workspace: Workspace) -> None:
    text = configure.read_template(workspace, "starter")
    *_, first = configure_tab.draw(workspace, text)[:4]
    assert first["value"] == "starter"


def test_a_remedy_and_a_template_are_different_things(workspace: Workspace) -> None:
    names = [name for _, name in configure_tab.template_choices(workspace)]
    assert "starter" in names and "less_memory" not in names


def test_changes_are_noticed_before_a_template_replaces_them(workspace: Workspace) -> None:
    draft = configure.start_draft(workspace, "starter")
    assert not configure_tab.is_edited(workspace)
    configure.save_draft(workspace, draft.text + "\n# mine\n")
    assert configure_tab.is_edited(workspace)


def test_the_memory_is_forecast_in_numbers_and_parts(workspace: Workspace) -> None:
    forecast = configure_tab.draw_forecast(workspace, configure.read_template(workspace, "starter"))
    assert "A run needs about" in forecast and "Base weights" in forecast


def test_a_downloaded_configuration_is_the_text_itself(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert configure_tab.export_text("lora:\n  r: 8\n").read_bytes() == b"lora:\n  r: 8\n"


def test_values_are_written_as_their_fields_take_them() -> None:
    assert [show_value(value) for value in (True, ["a", "b"], 1e-4, None, 3, "x")] == [
        True, "a\nb", "0.0001", "", 3, "x",
    ]  # fmt: skip
    assert field_id("lora.lora_alpha") == "set-lora-lora-alpha"


def test_a_configuration_without_a_word_to_say_is_fine() -> None:
    assert "This configuration is fine" in show_problems([], [])


def test_where_values_may_be_typed_the_offered_ones_are_words(workspace: Workspace) -> None:
    """Gradio breaks in the browser on a number there, as soon as the field is left."""
    text = configure.read_template(workspace, "starter")
    offered = {field.key: field for field in configure.form_values(workspace, text)}
    filled = dict(zip(FORM_KEYS, fill_fields(workspace, text), strict=True))
    typed = [key for key, field in offered.items() if field.choices and field.kind != "choice"]
    assert "training.learning_rate" in typed
    for key in typed:
        assert all(isinstance(value, str) for _, value in offer_words(offered[key].choices)), key
        assert isinstance(filled[key]["value"], str), key
    written = configure.apply_form(workspace, text, {"training.learning_rate": "0.0002"})
    examined = configure.examine(workspace, written)
    assert examined.resolved is not None and examined.resolved.config.training.learning_rate == 2e-4


def test_a_look_at_the_templates_changes_nothing_and_asks_nothing(workspace: Workspace) -> None:
    configure.start_draft(workspace, "starter")
    assert configure_tab.choose(workspace, "starter") == [gr.skip()] * 4
    configure.save_draft(workspace, "base_template: starter\n")
    assert configure_tab.choose(workspace, "starter") == [gr.skip()] * 4
    assert "Replace it with the template?" in str(configure_tab.choose(workspace, "default"))
    assert configure.load_draft(workspace).text == "base_template: starter\n"
    assert "Replace it with the template?" in str(configure_tab.begin_again(workspace, "starter"))
    configure.start_draft(workspace, "starter")
    assert "base_model_name: starter" in configure_tab.begin_again(workspace, "starter")[0]
