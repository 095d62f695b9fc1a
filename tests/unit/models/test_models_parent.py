from __future__ import annotations

from pathlib import Path

import pytest

from medlora.config.resolve import Above, diagnose_text
from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.models.architecture import facts_from_config
from medlora.models.files import read_model_config
from medlora.models.parent import Parent, find_mismatches, read_parent, shape_sets
from medlora.services.templates import template_search
from medlora.workspace import Workspace, make_private, write_json
from tests.tiny_models import make_tiny_model

BASE = "owner/model"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def parent(ws: Workspace) -> Parent:
    folder = make_private(ws.adapter("ward"))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    settings = {"r": 8, "lora_alpha": 16, "target_modules": ["v_proj", "q_proj"], "use_dora": True}
    write_json(folder / "adapter_config.json", settings | {"base_model_name_or_path": BASE})
    dataset = {"name": "notes", "sha256": "ab"}
    earlier = {"parent": {"name": "older", "datasets": [{"name": "letters", "sha256": "cd"}]}}
    write_json(folder / "provenance.json", {"run_id": "r1", "dataset": dataset, **earlier})
    return read_parent(ws, "ward")


def config(**lora: object) -> Config:
    return Config.model_validate({"model": {"base_model_name": BASE}, "lora": lora})


def find(parent: Parent, asked: Config, base: str = BASE) -> list[str]:
    return list(find_mismatches(parent, base, asked.lora.model_dump(), None))


def test_a_run_that_takes_over_the_shape_fits(ws: Workspace, parent: Parent) -> None:
    above = Above({}, shape_sets(parent))
    text = f"model:\n  base_model_name: {BASE}\nlora:\n  r: 64\n"
    resolved = diagnose_text(text, name="c.yaml", search=template_search(ws), above=above).resolved
    assert resolved is not None
    assert resolved.config.lora.from_adapter == "ward"
    assert (resolved.config.lora.r, resolved.config.lora.use_dora) == (8, True)
    assert resolved.config.lora.target_modules == ["q_proj", "v_proj"]
    assert find(parent, resolved.config) == []


def test_what_does_not_fit_is_said_setting_by_setting(parent: Parent, tmp_path: Path) -> None:
    assert find(parent, config(r=16, lora_alpha=16, use_dora=True)) == [
        "lora.r: ward was made with 8 (got 16); what goes on from an adapter keeps its shape, "
        "so write the same"
    ]
    assert find(parent, config(r=8), base="other/model") == [
        "lora.from_adapter: ward sits on the base model owner/model (got other/model); "
        "choose that one as model.base_model_name"
    ]
    facts = facts_from_config(read_model_config(make_tiny_model(tmp_path / "tiny")))
    lora = config(r=8, lora_alpha=16, use_dora=True, target_modules=["o_proj"]).lora.model_dump()
    assert list(find_mismatches(parent, BASE, lora, facts)) == [
        "lora.target_modules: ward sits on q_proj, v_proj (got o_proj); write the same"
    ]


def test_a_run_remembers_every_dataset_behind_its_beginning(ws: Workspace, parent: Parent) -> None:
    record = parent.record()
    assert (record["name"], record["run_id"]) == ("ward", "r1")
    assert record["datasets"] == [{"name": "notes", "sha256": "ab"}, {"name": "letters", "sha256": "cd"}]
    with pytest.raises(UserError) as caught:
        read_parent(ws, "gone")
    assert str(caught.value) == (
        "lora.from_adapter: there is no adapter of this name (got gone); `adapters list` names them"
    )
