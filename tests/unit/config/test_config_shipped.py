"""Every shipped template resolves, says whom it is for, and holds only its differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlora.config.resolve import TemplateSearch, resolve_file
from medlora.models.architecture import built_in_facts, fit_target_modules

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
SEARCH = TemplateSearch((CONFIGS,), (CONFIGS.parent,))
OVERLAYS = {"less_memory", "more_stable", "faster"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_template_resolves_without_a_word(path: Path) -> None:
    notices = resolve_file(path, search=SEARCH).notices
    allowed = {"model.base_model_name", "data.dataset_path", "model.attn_implementation"}
    assert not notices or (path.stem in OVERLAYS and {notice.key for notice in notices} <= allowed)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_template_says_in_its_first_line_whom_it_is_for(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert ": for " in first


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_template_asks_for_layers_that_its_model_has(path: Path) -> None:
    config = resolve_file(path, search=SEARCH).config
    facts = built_in_facts(config.model.base_model_name)
    assert facts is not None
    _, notices, errors = fit_target_modules(config.lora.target_modules, facts)
    assert (notices, errors) == ([], [])


def test_the_starter_learns_a_short_dataset_in_a_few_dozen_steps() -> None:
    config = resolve_file(CONFIGS / "starter.yaml", search=SEARCH).config
    assert config.model.base_model_name == "starter"
    assert config.model.quantization_config.load_in_4bit is False
    assert (config.lora.r, config.data.max_seq_length) == (16, 1024)
    assert len(config.safety.system_prompt) < 150


@pytest.mark.parametrize("overlay", sorted(OVERLAYS))
@pytest.mark.parametrize("base", ["default", "starter", "gpu_6gb", "medical_qa"])
def test_a_remedy_can_be_laid_over_every_template(base: str, overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base_template: [{base}, {overlay}]\n")
    resolved = resolve_file(path, search=SEARCH)
    assert any(origin.startswith(f"configs/{overlay}.yaml") for origin in resolved.origins.values())
