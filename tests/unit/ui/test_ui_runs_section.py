from __future__ import annotations

from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.services import run_records
from medlora.ui import runs_section
from medlora.ui.run_comparison import show_comparison
from medlora.workspace import Workspace
from tests.told_runs import tell_run


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def test_runs_are_found_by_any_word_that_is_known_of_them(ws: Workspace) -> None:
    calm, quick = tell_run(ws, "calm"), tell_run(ws, "quick", learning_rate=5e-4)
    run_records.write_note(ws, quick.run_id, "best so far\nwith more words")
    found = {item.run_id for item in run_records.find_runs(ws, "CLINIC completed")}
    assert found == {calm.run_id, quick.run_id}
    assert [item.run_id for item in run_records.find_runs(ws, "clinic so FAR")] == [quick.run_id]
    listed = runs_section.draw(ws, "best", [])[1]
    assert "quick" in listed
    assert "calm" not in listed
    assert "best so far</td>" in listed


def test_two_runs_are_compared_in_one_picture_and_by_what_differs(ws: Workspace) -> None:
    runs = [tell_run(ws, "calm"), tell_run(ws, "quick", learning_rate=5e-4), tell_run(ws, "calm")]
    shown = show_comparison(run_records.compare(ws, [run.run_id for run in runs]))
    assert shown.count('<polyline class="line-3"') == 2, (
        "a third run has a line of its own, loss and eval loss"
    )
    assert "quick: 2.9600 at step 1, 1.2027 at step 30" in shown
    assert f"calm ({runs[0].run_id[-4:]})" in shown
    assert "<td>training.learning_rate</td><td>0.0001</td><td>0.0005</td><td>0.0001</td>" in shown
    assert "<td>State</td><td>Finished</td>" in shown


def test_the_section_shows_what_fits_the_choice(ws: Workspace) -> None:
    assert runs_section.draw(ws, "", None)[0]["visible"] is False
    run = tell_run(ws, "calm")
    box, _, choice, result, one, note = runs_section.draw(ws, None, [run.run_id, "gone"])
    assert (box["visible"], choice["value"], result, one["visible"], note) == (
        True,
        [run.run_id],
        "",
        True,
        "",
    )
    assert runs_section.draw(ws, "no such words", [run.run_id])[2]["value"] == [run.run_id]
    with pytest.raises(UserError, match=r"run: choose one \(got 0\)"):
        runs_section.export(ws, [])
