"""The first-use guide stands before newcomers alone, and moves with what they did."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from medlora.access.roles import GUEST
from medlora.runs.events import append_event
from medlora.runs.store import RunRequest, create_run
from medlora.services import data
from medlora.services.chat_log import Conversation
from medlora.space.demo import ADAPTER, fill_home
from medlora.ui import guide
from medlora.ui.guide import OFF, ON, Step
from medlora.ui.remembered import GUIDE, Kept
from medlora.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
NEW, GOING = Kept({}), Kept({GUIDE: ON})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def shown(workspace: Workspace, kept: Kept, conversation: Any = None) -> list[str]:
    """The words of the guide's visible buttons; none while it is hidden."""
    drawn = guide.draw(workspace, kept, conversation)
    names = ["sample", drawn[3].get("value"), "chat"]
    buttons = [name for name, update in zip(names, drawn[2:5], strict=True) if update.get("visible")]
    return [*buttons, drawn[5]["value"]] if drawn[0]["visible"] else []


def test_a_newcomer_to_an_empty_app_gets_the_guide_until_it_is_skipped(workspace: Workspace) -> None:
    assert guide.begin(workspace, NEW) == {GUIDE: ON}
    assert shown(workspace, GOING) == ["sample", "Skip the guide"]
    skipped = Kept({GUIDE: OFF})
    assert guide.begin(workspace, skipped) == {GUIDE: OFF}
    assert shown(workspace, skipped) == []


def test_the_adapter_that_comes_with_every_checkout_is_no_sign_of_use(workspace: Workspace) -> None:
    shutil.copytree(ROOT / "adapters" / ADAPTER, workspace.adapter(ADAPTER))
    assert guide.begin(workspace, NEW) == {GUIDE: ON}
    assert shown(workspace, GOING) == ["sample", "Skip the guide"]
    data.use_sample(workspace)
    assert shown(workspace, GOING) == ["Go to Train", "Skip the guide"]


def test_whoever_comes_to_an_app_that_was_used_gets_none(workspace: Workspace) -> None:
    data.use_sample(workspace)
    assert guide.begin(workspace, NEW) == {}
    assert shown(workspace, NEW) == []


def test_a_guest_of_a_demo_gets_none(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide, "current_caller", lambda: GUEST)
    assert guide.begin(workspace, NEW) == {}
    assert shown(workspace, GOING) == []


def test_the_guide_goes_from_the_data_to_the_run_to_the_chat_and_ends(workspace: Workspace) -> None:
    data.use_sample(workspace)
    assert shown(workspace, GOING) == ["Go to Train", "Skip the guide"]
    run = create_run(workspace, RunRequest(config={}, dataset={}, adapter_name="first"))
    append_event(run, "queued", ticket=1)
    assert shown(workspace, GOING) == ["Watch it", "Skip the guide"]


def test_with_an_adapter_the_guide_leads_to_the_chat_and_after_the_first_words_it_ends(
    workspace: Workspace,
) -> None:
    fill_home(workspace, ROOT)
    assert shown(workspace, GOING) == ["chat", "Skip the guide"]
    assert shown(workspace, GOING, Conversation()) == ["chat", "Skip the guide"]
    assert shown(workspace, GOING, Conversation().add("user", "Hello")) == ["Finish"]


def test_the_steps_are_told_apart_without_colour() -> None:
    drawn = guide.show_steps(Step.TRAIN, training=True)
    assert drawn.count('aria-current="step"') == 1
    assert '<span class="ml-spoken">done: </span>Take the sample dataset' in drawn
    assert "It is training; it goes on whatever you look at meanwhile." in drawn
