"""The Data tab's handlers, on real files."""

import json
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.services import data
from medlora.ui import data_report, dataset_adding, dataset_removal
from medlora.ui.dataset_removal import Shown
from medlora.workspace import Workspace

ROWS = [
    {
        "question": f"What helps against headache number {n}?",
        "answer": f"Rest, water and patience help with headache {n}.",
    }
    for n in range(8)
]  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def path(workspace: Workspace) -> Path:
    folder = workspace.uploads / "one"
    folder.mkdir(parents=True)
    file = folder / "headache.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)) + "\n{broken\n", encoding="utf-8")
    return file


def test_nothing_is_stored_before_the_user_agrees_to_lose_bad_rows(workspace: Workspace, path: Path) -> None:
    shown = Shown(path, path.name, len(ROWS))
    with pytest.raises(UserError, match="1 of 9 rows"):
        dataset_adding.store_upload(workspace, shown, False, None, "headache")
    assert data.list_datasets(workspace) == [] and path.exists()


def test_an_added_upload_leaves_no_copy_behind(workspace: Workspace, path: Path) -> None:
    shown = Shown(path, path.name, len(ROWS))
    made = dataset_adding.store_upload(workspace, shown, True, None, "headache")
    assert (made.name, made.usable) == ("headache", 8)
    assert not path.exists() and not path.parent.exists()


def test_an_upload_that_another_replaces_is_gone_and_the_same_file_again_is_not(
    workspace: Workspace, path: Path
) -> None:
    shown = Shown(path, path.name, len(ROWS))
    dataset_adding.forget_upload(shown, None, keep=path)
    assert path.exists()
    sheet = path.with_name("sheet.csv")
    sheet.write_text("question,answer\n", encoding="utf-8")
    dataset_adding.forget_upload(None, str(sheet), keep=sheet)
    assert sheet.exists()
    dataset_adding.forget_upload(None, str(sheet))
    dataset_adding.forget_upload(shown, None, keep=path.with_name("other.jsonl"))
    assert not path.exists() and not sheet.exists()


def test_a_report_offers_what_can_be_done_next(workspace: Workspace, path: Path) -> None:
    drawn = data_report.check_new(workspace, path, lambda share: None)
    shown, skip_bad, name, add = drawn[0], drawn[4], drawn[6], drawn[7]
    assert (shown.usable, shown.is_upload) == (8, True)
    assert (skip_bad["visible"], skip_bad["label"]) == (True, "Leave out 1 bad row and use the rest")
    assert (name["value"], add["value"]) == ("headache", "Add dataset")


def test_a_record_is_shown_with_what_is_learned_marked(workspace: Workspace, path: Path) -> None:
    shown = Shown(path, path.name, len(ROWS))
    seen = data_report.show_record(workspace, shown, 2)
    assert "line 2" in seen and "<mark>Rest, water and patience help with headache 1.</mark>" in seen


def test_a_record_number_out_of_range_shows_the_nearest(workspace: Workspace, path: Path) -> None:
    shown = Shown(path, path.name, len(ROWS))
    assert "line 8" in data_report.show_record(workspace, shown, 99)
    assert "line 1" in data_report.show_record(workspace, shown, None)


def test_without_a_file_there_is_nothing_to_add(workspace: Workspace) -> None:
    with pytest.raises(UserError) as caught:
        dataset_adding.store_upload(workspace, None, True, None, "x")
    assert str(caught.value) == "dataset: there is no file to add; upload one first"


def test_a_dataset_can_be_removed_and_an_upload_forgotten(workspace: Workspace, path: Path) -> None:
    made = data.add_dataset(workspace, path, data.AddOptions(skip_bad_rows=True))
    dataset_removal.remove_shown(workspace, Shown(path, path.name, 8))
    assert not path.exists()
    dataset_removal.remove_shown(workspace, Shown(made.name, made.title, 8))
    assert data.list_datasets(workspace) == []


def test_the_name_proposed_for_an_upload_can_be_read_and_is_no_longer_than_may_be() -> None:
    upload = Shown(Path("/tmp/x") / ("\u202egpj " + "a" * 200 + ".jsonl"), "x", 1)
    assert data_report.propose_name(upload) == "gpj " + "a" * 44
    assert data_report.propose_name(Shown("stored", "Stored", 1)) == ""
