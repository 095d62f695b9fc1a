"""What a browser remembers is its visitor's own, and nothing it says is trusted."""

from pathlib import Path
from typing import Any

import pytest

from medlora.access.roles import Caller, Role
from medlora.services import data
from medlora.space.demo import fill_home
from medlora.ui import recall
from medlora.ui.remembered import LONGEST_NAME, LONGEST_PROMPT, Kept
from medlora.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
FIELDS: list[Any] = ["Be brief.", 192, True, 0, 0.9, 1.15, 42]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace.open(tmp_path_factory.mktemp("home"))
    fill_home(made, ROOT)
    return made


def selected(kept: Kept, running: bool = False) -> list[Any]:
    return [getattr(update, "selected", None) for update in recall.choose_tab(kept, running)]


def test_another_accounts_memory_is_left_out() -> None:
    left = {"account": "ada", "tab": "safety"}
    assert Kept.read(left, "ada").name("tab") == "safety"
    assert Kept.read(left, "ben").values == {"account": "ben"}
    assert Kept.read(left, "").values == {"account": ""}
    assert Kept.read({"tab": "safety"}, "").name("tab") == "safety"
    assert Kept.read("no memory", "").values == {"account": ""}


@pytest.mark.parametrize("value", [None, 7, "", ["data"], "x" * (LONGEST_NAME + 1)])
def test_a_name_is_a_short_text(value: object) -> None:
    assert Kept({"tab": value}).name("tab") is None


@pytest.mark.parametrize(
    "fields",
    [None, [], FIELDS[:-1], ["x" * (LONGEST_PROMPT + 1), *FIELDS[1:]], ["Be brief.", "192", *FIELDS[2:]],
     ["Be brief.", 192, "yes", *FIELDS[3:]], [None, *FIELDS[1:]]],
)  # fmt: skip
def test_fields_of_another_form_are_none(fields: object) -> None:
    assert Kept({"chat": {"adapter:mine": fields}}).fields("adapter:mine", FIELDS) is None


def test_the_fields_are_those_of_the_speaker() -> None:
    kept = Kept({"chat": {"adapter:mine": FIELDS}})
    assert kept.fields("adapter:mine", FIELDS) == FIELDS
    assert kept.fields("base:starter", FIELDS) is None
    assert Kept({"chat": "none"}).fields("adapter:mine", FIELDS) is None


def test_the_page_opens_where_it_was_left_and_the_first_time_at_a_running_run() -> None:
    assert selected(Kept({"tab": "chat", "section": "ratings"}), running=True) == ["chat", "ratings"]
    assert selected(Kept({}), running=True) == ["train", None]
    assert selected(Kept({})) == [None, None]


def test_a_tester_begins_at_the_chat_and_comes_back_only_to_what_testers_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recall, "current_caller", lambda: Caller("tess", Role.TESTER))
    assert selected(Kept({}), running=True) == ["chat", "compare"]
    assert selected(Kept({"tab": "evaluate", "section": "scripts"})) == ["evaluate", "scripts"]
    assert selected(Kept({"tab": "configure", "section": "measure"})) == ["chat", "compare"]


def test_what_is_gone_is_not_chosen_again(workspace: Workspace) -> None:
    nothing: list[Any] = ["nothing"]
    gone = Kept({"dataset": "../../etc", "speaker": "adapter:gone", "adapter": "gone", "trained_on": "gone"})
    assert recall.open_datasets(workspace, gone)[1]["value"] is None
    assert recall.open_report(workspace, gone, nothing) == nothing
    assert "value" not in recall.open_speaker(workspace, gone)
    first = recall.open_adapters(workspace, gone)
    assert first[1]["value"] == first[2]["value"] == "demo-patient-education"
    assert recall.open_training(workspace, gone)[0]["value"] == data.list_datasets(workspace)[0].name


def test_what_is_there_is_chosen_again(workspace: Workspace) -> None:
    name = data.list_datasets(workspace)[0].name
    speaker = "base:starter"
    kept = Kept({"dataset": name, "speaker": speaker})
    assert recall.open_datasets(workspace, kept)[1]["value"] == name
    assert len(recall.open_report(workspace, kept, [])) > 10
    assert recall.open_speaker(workspace, kept)["value"] == speaker
    assert recall.open_training(workspace, kept)[0]["value"] == name
