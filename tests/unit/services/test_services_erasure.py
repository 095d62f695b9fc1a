"""Everything that was made from a dataset goes with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.dataset import kept_tokens
from medlora.errors import NotFoundError, UserError
from medlora.runs.events import append_event
from medlora.runs.store import RunRequest, create_run
from medlora.services import adapters, data, erasure, train
from medlora.workspace import RunPaths, Workspace, make_private, write_json

CANARY = "zebrafinch-0417"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def import_rows(ws: Workspace, folder: Path, name: str) -> str:
    path = folder / f"{name}.jsonl"
    rows = [{"question": f"What is {CANARY} number {n}?", "answer": f"It is {CANARY}."} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    card = data.add_dataset(ws, path, data.AddOptions(name=name, keep_original=False))
    return card.sha256


def make_run(ws: Workspace, name: str, sha256: str) -> RunPaths:
    request = RunRequest(config={}, dataset={"name": name, "sha256": sha256}, adapter_name=f"{name}-a")
    run = create_run(ws, request)
    (run.checkpoints / "state.txt").write_text(CANARY, encoding="utf-8")
    return run


def make_adapter(ws: Workspace, name: str, sha256: str) -> str:
    folder = make_private(ws.adapter(f"{name}-a"))
    (folder / "adapter_model.safetensors").write_text(CANARY, encoding="utf-8")
    write_json(folder / "adapter_config.json", {"r": 4})
    write_json(folder / "provenance.json", {"dataset": {"name": name, "sha256": sha256}})
    return folder.name


def test_what_went_on_from_an_adapter_of_the_dataset_goes_with_it(ws: Workspace, tmp_path: Path) -> None:
    sha256 = import_rows(ws, tmp_path, "ward")
    parent = {"name": "ward-a", "datasets": [{"name": "ward", "sha256": sha256}]}
    folder = make_private(ws.adapter("child"))
    (folder / "adapter_model.safetensors").write_text(CANARY, encoding="utf-8")
    write_json(folder / "adapter_config.json", {"r": 4})
    write_json(folder / "provenance.json", {"dataset": {"name": "other", "sha256": "1"}, "parent": parent})
    request = RunRequest(config={}, dataset={"name": "other"}, adapter_name="child", parent=parent)
    run = create_run(ws, request)
    append_event(run, "ended", status="completed")
    held = erasure.erase_dataset(ws, "ward")
    assert (held.adapters, held.runs) == (("child",), (run.run_id,))
    assert not folder.exists()


def files_with(canary: str, *folders: Path) -> list[Path]:
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and canary.encode() in path.read_bytes()
    ]


def test_nothing_of_a_dataset_is_left_and_others_are_untouched(ws: Workspace, tmp_path: Path) -> None:
    sha256 = import_rows(ws, tmp_path, "ward")
    run = make_run(ws, "ward", sha256)
    append_event(run, "ended", status="completed", adapter="ward-a")
    name = make_adapter(ws, "ward", sha256)
    adapters.export_zip(ws, name)
    data.write_rejects(ws, "ward")
    session = make_private(ws.uploads / "1-1" / "download-1")
    (session / "rejects.jsonl").write_text(CANARY, encoding="utf-8")
    upload = make_private(ws.uploads / "1-1" / "abc") / "ward.jsonl"
    upload.write_bytes((ws.dataset("ward") / "source.jsonl").read_bytes())
    other = make_adapter(ws, "other", "0" * 64)

    held = erasure.erase_dataset(ws, "ward")

    assert (held.runs, held.adapters, held.copies) == ((run.run_id,), ("ward-a",), ())
    assert files_with(CANARY, ws.home) == [ws.adapter(other) / "adapter_model.safetensors"]
    assert list(ws.experiments.iterdir()) == []
    with pytest.raises(NotFoundError, match="dataset: nothing is left of one named 'ward'"):
        erasure.find_holdings(ws, "ward")


def keep_tokens(ws: Workspace, sha256: str) -> Path:
    """What a run keeps of such rows: the canary's letters as ids of a tokenizer that knows letters alone."""
    ids = [ord(letter) for letter in CANARY]
    name = f"{sha256}-0.tokens"
    kept_tokens.keep(ws, name, kept_tokens.pack_rows([{"input_ids": ids, "labels": ids}], -100))
    return kept_tokens.tokens_folder(ws) / name


def test_tokens_go_with_their_dataset_since_they_are_its_text(ws: Workspace, tmp_path: Path) -> None:
    sha256 = import_rows(ws, tmp_path, "ward")
    tokens, other = keep_tokens(ws, sha256), keep_tokens(ws, "0" * 64)
    spelled = "".join(f"{letter}\0\0\0" for letter in CANARY)
    assert files_with(spelled, ws.cache) == sorted([tokens, other])
    data.remove_dataset(ws, "ward")
    assert files_with(spelled, ws.home) == [other]
    tokens = keep_tokens(ws, sha256)
    append_event(make_run(ws, "ward", sha256), "ended", status="completed")
    erasure.erase_dataset(ws, "ward")  # the dataset is gone already; the run's record names its rows
    assert files_with(spelled, ws.home) == [other]


def test_tokens_of_a_file_stay_while_a_run_or_a_dataset_tells_of_it(ws: Workspace, tmp_path: Path) -> None:
    sha256 = import_rows(ws, tmp_path, "ward")
    of_dataset, of_file = keep_tokens(ws, sha256), keep_tokens(ws, "f" * 64)
    runs = [make_run(ws, "a-file", "f" * 64), make_run(ws, "a-file", "f" * 64)]
    for run, left in zip(runs, (True, False), strict=True):
        append_event(run, "ended", status="completed")
        train.remove(ws, run.run_id)
        assert of_file.exists() is left
    assert of_dataset.exists()


def test_adapters_are_kept_where_that_is_asked_for(ws: Workspace, tmp_path: Path) -> None:
    make_adapter(ws, "ward", import_rows(ws, tmp_path, "ward"))
    erasure.erase_dataset(ws, "ward", keep_adapters=True)
    assert [item.name for item in adapters.list_adapters(ws)] == ["ward-a"]


def test_what_is_left_of_a_removed_dataset_can_still_be_erased(ws: Workspace, tmp_path: Path) -> None:
    run = make_run(ws, "ward", import_rows(ws, tmp_path, "ward"))
    append_event(run, "ended", status="completed")
    data.remove_dataset(ws, "ward")
    assert erasure.erase_dataset(ws, "ward").stored is False
    assert list(ws.experiments.iterdir()) == []


def test_nothing_is_deleted_while_a_run_reads_the_dataset(ws: Workspace, tmp_path: Path) -> None:
    run = make_run(ws, "ward", import_rows(ws, tmp_path, "ward"))
    append_event(run, "queued")
    with pytest.raises(UserError, match=f"run {run.run_id}: it is queued and reads this dataset"):
        erasure.erase_dataset(ws, "ward")
    assert data.show_dataset(ws, "ward").rows == 4


def test_copies_of_the_same_rows_are_named(ws: Workspace, tmp_path: Path) -> None:
    import_rows(ws, tmp_path, "ward")
    import_rows(ws, tmp_path, "again")
    assert erasure.find_holdings(ws, "ward").copies == ("again",)


def test_the_command_line_erases_everything(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_HOME", str(ws.home))
    make_adapter(ws, "ward", import_rows(ws, tmp_path, "ward"))
    done = CliRunner().invoke(cli, ["data", "remove", "ward", "--everything"])
    assert done.output == "ward: removed, with 0 runs\nadapters removed: ward-a\n"
    assert files_with(CANARY, ws.home) == []
