"""The library of adapters: cards, deletion that asks who is using it, export of what was published."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medlora.errors import NotFoundError, UserError
from medlora.services import adapters
from medlora.workspace import Workspace

PROVENANCE: dict[str, Any] = {
    "run_id": "20261123-101500-clinic-ab12",
    "created": "2026-11-23T10:20:00+00:00",
    "status": "stopped at step 12",
    "base_model": {"name": "starter", "revision": "0.1.2", "weight_hash": "ab" * 32},
    "dataset": {"name": "clinic", "sha256": "cd" * 32, "rows_train": 180, "rows_eval": 20},
    "config": {"safety": {"system_prompt": "Be kind.", "content_filter": True}},
    "metrics": {"steps": 12, "train_loss": 1.5, "eval_loss": 1.75},
}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def _publish(ws: Workspace, name: str, **provenance: Any) -> Path:
    folder = ws.adapter(name)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"0" * 2**20)
    settings = {"r": 16, "target_modules": ["q_proj", "o_proj"], "base_model_name_or_path": "starter"}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps({**PROVENANCE, **provenance}), encoding="utf-8")
    for name_ in ("tokenizer.json", "chat_template.jinja", "README.md"):
        (folder / name_).write_text("{}", encoding="utf-8")
    return folder


def test_a_card_tells_where_an_adapter_comes_from(ws: Workspace) -> None:
    _publish(ws, "clinic")
    card = adapters.show(ws, "clinic")
    assert (card.base_model, card.dataset, card.rows_train, card.run_id) == (
        "starter",
        "clinic",
        180,
        "20261123-101500-clinic-ab12",
    )
    assert (card.steps, card.train_loss, card.eval_loss, card.status) == (12, 1.5, 1.75, "stopped at step 12")
    assert (card.rank, card.target_modules, card.size_mib, card.problem) == (
        16,
        ("o_proj", "q_proj"),
        1.0,
        "",
    )


def test_the_newest_adapter_is_listed_first_and_half_published_ones_not_at_all(ws: Workspace) -> None:
    _publish(ws, "older", created="2026-11-22T10:00:00+00:00")
    _publish(ws, "newer")
    (ws.adapters / ".newest.tmp").mkdir()
    assert [card.name for card in adapters.list_adapters(ws)] == ["newer", "older"]


def test_a_damaged_adapter_is_listed_with_its_problem(ws: Workspace) -> None:
    (_publish(ws, "torn") / "adapter_model.safetensors").unlink()
    (_publish(ws, "blank") / "adapter_config.json").write_text("", encoding="utf-8")
    problems = {card.name: card.problem for card in adapters.list_adapters(ws)}
    assert problems == {
        "torn": "adapter_model.safetensors is missing",
        "blank": "adapter_config.json is missing or cannot be read",
    }


def test_an_unknown_name_is_answered_with_the_known_ones(ws: Workspace) -> None:
    _publish(ws, "clinic")
    with pytest.raises(NotFoundError) as unknown:
        adapters.show(ws, "clinik")
    assert (
        str(unknown.value)
        == "adapter: there is none of this name (got 'clinik'); did you mean clinic? There are: clinic"
    )


@pytest.mark.parametrize("name", ["../home", "/etc", "a/b", "..", "", ".hidden", "CON"])
def test_a_name_never_leads_out_of_the_folder(ws: Workspace, name: str) -> None:
    for act in (adapters.show, adapters.delete, adapters.export_zip):
        with pytest.raises(
            UserError, match=r"adapter: the name (is not usable|belongs)|adapter: there is none"
        ):
            act(ws, name)
    assert ws.adapters.is_dir()


def test_a_deleted_adapter_is_gone_from_the_disk(ws: Workspace) -> None:
    _publish(ws, "clinic")
    adapters.delete(ws, "clinic")
    assert list(ws.adapters.iterdir()) == []


def test_an_adapter_that_answers_is_not_deleted(ws: Workspace) -> None:
    _publish(ws, "clinic")
    with adapters.hold_adapter(ws, "clinic"), pytest.raises(UserError) as refused:
        adapters.delete(ws, "clinic")
    assert str(refused.value) == "adapter clinic: a chat is answering with it; stop the answer first"
    adapters.delete(ws, "clinic")


def test_who_died_while_answering_holds_nothing(ws: Workspace) -> None:
    _publish(ws, "clinic")
    folder = ws.locks / "adapters"
    folder.mkdir(parents=True)
    (folder / "clinic.999999.ab.json").write_text('{"pid": 999999, "start": 1.0}', encoding="utf-8")
    adapters.delete(ws, "clinic")


def test_one_adapter_in_use_does_not_hold_another_whose_name_begins_the_same(ws: Workspace) -> None:
    _publish(ws, "clinic")
    _publish(ws, "clinic.2")
    with adapters.hold_adapter(ws, "clinic.2"):
        adapters.delete(ws, "clinic")


def test_the_export_holds_what_was_published_and_the_safety_settings(ws: Workspace) -> None:
    folder = _publish(ws, "clinic")
    (folder / "notes.bin").write_bytes(b"stray")
    (folder / "link.json").symlink_to("/etc/passwd")
    made = adapters.export_zip(ws, "clinic")
    assert ws.private in made.parents
    with zipfile.ZipFile(made) as archive:
        assert sorted(archive.namelist()) == [
            "clinic/README.md",
            "clinic/adapter_config.json",
            "clinic/adapter_model.safetensors",
            "clinic/chat_template.jinja",
            "clinic/provenance.json",
            "clinic/safety_settings.json",
            "clinic/tokenizer.json",
        ]
        assert json.loads(archive.read("clinic/safety_settings.json")) == PROVENANCE["config"]["safety"]


def test_an_export_says_nothing_of_where_it_was_made(ws: Workspace) -> None:
    folder = _publish(ws, "clinic")
    base = "/home/byron/models/tiny"
    (folder / "report.md").write_text("# clinic", encoding="utf-8")
    (folder / "README.md").write_text(f"base_model: {base}", encoding="utf-8")
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": base}), encoding="utf-8"
    )
    modules = {"target_modules": ["a/b"]}
    config = {"data": {"dataset_path": "C:\\Users\\byron\\clinic.jsonl"}, "lora": modules}
    provenance = {
        "base_model": {"name": base},
        "config": config,
        "origins": {"lora.r": "~/byron/my.yaml:3:5"},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    with zipfile.ZipFile(adapters.export_zip(ws, "clinic")) as archive:
        said = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist()
                if not name.endswith(".safetensors")}  # fmt: skip
    assert not any("byron" in text for text in said.values()) and said["report.md"] == "# clinic"
    assert said["README.md"] == "base_model: tiny"
    told = json.loads(said["provenance.json"])
    assert told["config"] == {"data": {"dataset_path": "clinic.jsonl"}, "lora": modules}
    assert json.loads((folder / "provenance.json").read_text("utf-8")) == provenance, "here it stays as it is"


def test_a_damaged_adapter_is_not_exported(ws: Workspace) -> None:
    (_publish(ws, "torn") / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError) as refused:
        adapters.export_zip(ws, "torn")
    assert str(refused.value) == ("adapter torn: adapter_model.safetensors is missing; it cannot be exported")
