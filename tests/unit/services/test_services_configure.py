"""The Configure tab's verbs, on a real workspace with the shipped templates."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from medlora.errors import ConfigError, NotFoundError, UserError
from medlora.models.hardware import Hardware
from medlora.services import configure
from medlora.services.configure_form import FORM_KEYS
from medlora.services.templates import SHIPPED
from medlora.workspace import Workspace

CPU = Hardware(
    kind="cpu",
    name="A laptop",
    total_gib=16.0,
    free_gib=9.0,
    cores=2,
    ram_total_gib=16.0,
    ram_free_gib=9.0,
    torch_version="2.13.0",
    bf16=False,
    bitsandbytes=False,
    flash_attn=False,
    gpus=0,
)
PHI = """\
base_template: default
overrides:
  lora:
    target_modules: [q_proj, k_proj, v_proj, o_proj]
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("LORA_RANK", "LORA_LEARNING_RATE", "LORA_BATCH_SIZE"):
        monkeypatch.delenv(name, raising=False)
    _be(tmp_path, monkeypatch, CPU)
    return Workspace.open(tmp_path / "home")


def _be(folder: Path, monkeypatch: pytest.MonkeyPatch, hardware: Hardware) -> None:
    (folder / "hardware.json").write_text(json.dumps(asdict(hardware)))
    monkeypatch.setenv("MEDLORA_HARDWARE", str(folder / "hardware.json"))


# Templates


def test_the_shipped_templates_are_listed_with_their_audience(ws: Workspace) -> None:
    listed = configure.list_templates(ws)
    assert [template.name for template in listed] == list(SHIPPED)
    assert {path.stem for path in ws.shipped_configs.glob("*.yaml")} >= set(SHIPPED)
    assert (listed[0].title, listed[0].kind) == ("Starter (CPU)", "model")
    assert listed[0].audience.startswith("for a first run on a laptop without a GPU")
    assert all(template.audience for template in listed)


def test_a_saved_template_is_listed_after_the_models_and_can_be_stood_on(ws: Workspace) -> None:
    saved = configure.save_template(ws, "my-clinic", "base_template: starter\noverrides: {lora: {r: 8}}\n")
    assert (saved.title, saved.audience, saved.kind) == ("My clinic", "your own template.", "yours")
    assert configure.read_template(ws, "my-clinic").startswith(
        "# My clinic: your own template.\nbase_template"
    )
    names = [template.name for template in configure.list_templates(ws)]
    assert names.index("my-clinic") == names.index("less_memory") - 1
    examined = configure.examine(ws, "base_template: my-clinic\n")
    assert examined.resolved is not None
    assert examined.resolved.origins["lora.r"] == "configs/my-clinic.yaml:3:20"


def test_a_copy_of_a_template_gets_its_own_title(ws: Workspace) -> None:
    saved = configure.save_template(ws, "ward_7.yaml", configure.read_template(ws, "starter"))
    assert (saved.name, saved.title) == ("ward_7", "Ward 7")
    assert "Starter (CPU)" not in configure.read_template(ws, "ward_7")
    copied = configure.save_template(ws, "ward_8", configure.read_template(ws, "ward_7"))
    assert copied.title == "Ward 8", "nor does a copy of one's own stand twice in the list"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("starter", "template: a shipped template has this name (got starter); choose another"),
        ("default.yaml", "template: a shipped template has this name (got default); choose another"),
        (
            "../x",
            "template: the name is not usable (got '../x'); "
            "use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit",
        ),
    ],
)
def test_a_name_that_is_shipped_or_unsafe_is_refused(ws: Workspace, name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        configure.save_template(ws, name, "lora: {r: 8}")
    assert str(caught.value) == message
    assert not list(ws.home.rglob("*.yaml"))


def test_a_taken_name_is_kept_unless_replacing_is_asked_for(ws: Workspace) -> None:
    configure.save_template(ws, "mine", "lora: {r: 8}")
    with pytest.raises(UserError, match=r"this name is taken \(got mine\); choose another, or replace it"):
        configure.save_template(ws, "mine", "lora: {r: 9}")
    configure.save_template(ws, "mine", "lora: {r: 9}", replace=True)
    assert "r: 9" in configure.read_template(ws, "mine")


def test_a_text_with_errors_is_not_saved(ws: Workspace) -> None:
    with pytest.raises(ConfigError):
        configure.save_template(ws, "mine", "lora: {r: 0}")
    assert "mine" not in [template.name for template in configure.list_templates(ws)]


def test_an_unknown_template_is_named(ws: Workspace) -> None:
    with pytest.raises(NotFoundError, match=r"template: there is none of that name \(got 'nope'\)"):
        configure.read_template(ws, "nope")


def test_a_remedy_is_written_into_the_text(ws: Workspace) -> None:
    text = configure.lay_over(ws, configure.read_template(ws, "default"), "more_stable")
    examined = configure.examine(ws, text)
    assert examined.resolved is not None
    config = examined.resolved.config
    assert (config.training.learning_rate, config.lora.lora_dropout) == (5e-5, 0.05)
    assert "# Against learning by heart." in text


# Drafts


def test_a_draft_survives_a_restart(ws: Workspace) -> None:
    configure.save_draft(ws, "lora: {r: 0  # half writ", "starter")
    again = configure.load_draft(Workspace.open(ws.home))
    assert (again.text, again.template) == ("lora: {r: 0  # half writ", "starter")
    assert configure.save_draft(ws, "x").template == "starter"


def test_the_first_draft_suits_the_machine(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configure.load_draft(ws).template == "starter"
    _be(tmp_path, monkeypatch, Hardware(**{**asdict(CPU), "kind": "cuda"}))
    assert configure.load_draft(ws).template == "default"


def test_a_draft_that_was_damaged_is_begun_anew(ws: Workspace) -> None:
    configure.save_draft(ws, "lora: {}")
    (ws.drafts / "config.json").write_text("{")
    assert configure.load_draft(ws).template == "starter"


def test_a_draft_larger_than_any_configuration_is_refused(ws: Workspace) -> None:
    with pytest.raises(UserError, match="configuration: larger than 64 KB; shorten it"):
        configure.save_draft(ws, "x" * 70_000)


# Examination


def test_a_good_text_is_ok_and_shows_where_every_value_comes_from(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_RANK", "64")
    examined = configure.examine(ws, "base_template: starter\n", sets=["training.seed=7"])
    assert (examined.ok, examined.problems) == (True, [])
    rows = {row.key: (row.value, row.origin) for row in examined.origins}
    assert rows["lora.r"] == ("64", "env LORA_RANK")
    assert rows["training.seed"] == ("7", "--set")
    assert rows["lora.use_rslora"] == ("false", "default")
    assert rows["model.base_model_name"][1].startswith("configs/starter.yaml:")
    assert "lora:\n  r: 64  # env LORA_RANK\n" in examined.resolved_text


def test_the_resolved_view_is_itself_a_configuration(ws: Workspace) -> None:
    first = configure.examine(ws, "base_template: medical_qa\n")
    again = configure.examine(ws, first.resolved_text)
    assert first.resolved is not None
    assert again.resolved is not None
    assert again.resolved.config == first.resolved.config


def test_problems_carry_a_line_only_where_it_is_the_texts_own(ws: Workspace) -> None:
    (ws.user_configs).mkdir()
    (ws.user_configs / "bad.yaml").write_text("lora:\n  x: 1\n")
    examined = configure.examine(ws, "base_template: bad\ntraining:\n  seed: -1\n")
    assert [(problem.where, problem.line) for problem in examined.problems] == [
        ("config.yaml:3:3", 3),
        ("configs/bad.yaml:2:3", None),
    ]
    assert (examined.ok, examined.origins, examined.resolved_text) == (False, [], "")


def test_modules_that_the_model_keeps_together_are_a_notice(ws: Workspace) -> None:
    examined = configure.examine(ws, PHI)
    assert examined.ok
    assert [str(notice) for notice in examined.notices] == [
        "config.yaml:4:5: lora.target_modules: q_proj, k_proj, v_proj: this model (phi3) keeps them in one "
        "layer; qkv_proj is adapted instead"
    ]


def test_modules_that_the_model_lacks_are_a_problem(ws: Workspace) -> None:
    examined = configure.examine(ws, PHI.replace("o_proj]", "query]"))
    assert not examined.ok
    assert [str(problem) for problem in examined.problems] == [
        "config.yaml:4:5: lora.target_modules: this model (phi3) has no linear layer of that name "
        "(got 'query'); there are qkv_proj, o_proj, gate_up_proj, down_proj, or all-linear"
    ]


def test_layers_that_the_model_lacks_are_a_problem(ws: Workspace) -> None:
    examined = configure.examine(ws, "base_template: starter\nlora: {layers_to_transform: [0, 29, 30]}\n")
    assert [str(problem) for problem in examined.problems] == [
        "config.yaml:2:8: lora.layers_to_transform: this model has the layers 0 to 29 (got 30); correct them"
    ]


def test_a_model_that_is_not_here_yet_is_a_notice(ws: Workspace) -> None:
    examined = configure.examine(
        ws, "model: {base_model_name: someone/model}\ndata: {dataset_path: x}", "mine"
    )
    assert [str(notice) for notice in examined.notices] == [
        "config.yaml:1:9: model.base_model_name: this model is downloaded when a run starts, "
        "and its layers are checked then (got someone/model)"
    ]


def test_a_chosen_dataset_silences_the_files_own(ws: Workspace) -> None:
    text = "base_template: starter\noverrides: {data: {dataset_path: ./gone.jsonl}}\n"
    assert [notice.key for notice in configure.examine(ws, text).notices] == ["data.dataset_path"]
    assert configure.examine(ws, text, "mine").notices == []


def test_warmup_is_held_against_the_length_of_the_run(ws: Workspace) -> None:
    examined = configure.examine(ws, "base_template: default\n", rows=200)
    assert [str(notice) for notice in examined.notices] == [
        "configs/default.yaml:56:3: training.warmup_steps: 100 steps of warmup are as long as "
        "the run or longer "
        "(75 steps); shortened to 7"
    ]


def test_the_fixed_texts_and_the_country_are_checked(ws: Workspace) -> None:
    examined = configure.examine(ws, "safety:\n  country: XX\n  messages: {nonsense: hello}\n", "mine")
    assert len(examined.problems) == 1
    assert "safety.messages.nonsense: there is no text of that name" in str(examined.problems[0])
    assert any("no numbers are known for it (got XX)" in notice.message for notice in examined.notices)


def test_a_file_is_examined_by_path_or_by_name(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("lora:\n  r: 0\n")
    examined = configure.examine_file(ws, str(tmp_path / "x.yaml"))
    assert [problem.line for problem in examined.problems] == [2]
    assert configure.examine_file(ws, "starter", sets=["lora.r=4"]).ok
    assert configure.examine_file(ws, "configs/starter.yaml").ok
    with pytest.raises(
        NotFoundError, match=r"config: there is no such file and no such template \(got 'nope.yaml'\)"
    ):
        configure.examine_file(ws, "nope.yaml")


def test_the_text_of_a_file_stands_on_templates_beside_it(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("base_template: starter\noverrides: {lora: {r: 3}}\n")
    (tmp_path / "x.yaml").write_text("base_template: ours\n")
    examined = configure.examine(ws, "base_template: ours\n", name=str(tmp_path / "x.yaml"))
    assert examined.resolved is not None
    assert examined.resolved.config.lora.r == 3
    broken = configure.examine(ws, "base_template: ours\nlora: {r: 0}\n", name=str(tmp_path / "x.yaml"))
    assert broken.problems[0].line == 2


# Form


def test_the_form_shows_what_the_text_comes_to(ws: Workspace) -> None:
    fields = {
        field.key: field
        for field in configure.form_values(ws, "base_template: starter\n", env={"LORA_RANK": "9"})
    }
    assert tuple(fields) == FORM_KEYS
    rank = fields["lora.r"]
    assert (rank.value, rank.kind, rank.overridden) == (16, "whole number", "LORA_RANK")
    assert rank.choices[2] == ("32 · balanced adaptation: recommended for most uses", 32)
    assert rank.help
    assert fields["training.lr_scheduler_type"].choices[0][1] == "cosine"
    assert fields["safety.system_prompt"].kind == "long text"
    assert fields["training.early_stopping_patience"].value is None


def test_the_form_is_empty_while_the_text_has_errors(ws: Workspace) -> None:
    assert configure.form_values(ws, "lora: [") == []


@pytest.mark.parametrize("name", list(SHIPPED))
def test_a_form_that_was_not_touched_changes_nothing(ws: Workspace, name: str) -> None:
    text = configure.read_template(ws, name)
    values = {field.key: field.value for field in configure.form_values(ws, text)}
    assert configure.apply_form(ws, text, values) == text


def test_the_form_writes_what_was_changed_and_keeps_the_comments(ws: Workspace) -> None:
    text = configure.read_template(ws, "starter")
    changed = configure.apply_form(
        ws,
        text,
        {
            "lora.r": 64.0,
            "training.learning_rate": "5e-4",
            "safety.defer_keywords": "chest pain\nblue lips, fits",
        },
    )
    config = configure.examine(ws, changed).resolved
    assert config is not None
    assert config.config.lora.r == 64
    assert config.config.training.learning_rate == 5e-4
    assert config.config.safety.defer_keywords == ["chest pain", "blue lips", "fits"]
    assert "learning_rate: 5.0e-4      # small models take, and need, a higher rate" in changed


def test_a_field_that_shows_less_than_the_value_changes_nothing(ws: Workspace) -> None:
    text = (
        "training:\n  learning_rate: 1.23456789e-4\n"
        "safety:\n  defer_keywords: ['chest pain, left', fits]\n  system_prompt: |\n    Be kind.\n"
    )
    shown = {
        "training.learning_rate": "0.000123457",
        "safety.defer_keywords": "chest pain, left\nfits",
        "safety.system_prompt": "Be kind.",
        "training.early_stopping_patience": "",
    }
    assert configure.apply_form(ws, text, shown) == text


def test_one_kind_of_warmup_in_the_form_takes_the_other_back(ws: Workspace) -> None:
    changed = configure.apply_form(ws, "training:\n  warmup_steps: 10\n", {"training.warmup_ratio": 0.2})
    examined = configure.examine(ws, changed).resolved
    assert examined is not None
    assert (examined.config.training.warmup_steps, examined.config.training.warmup_ratio) == (0, 0.2)


def test_nonsense_in_a_field_is_reported_at_its_line(ws: Workspace) -> None:
    changed = configure.apply_form(ws, "lora:\n  r: 8\n", {"lora.r": "many"})
    assert [str(problem) for problem in configure.examine(ws, changed).problems] == [
        "config.yaml:2:3: lora.r: must be a whole number of at least 1 and at most 1024 (got 'many'); "
        "for example `r: 32`"
    ]


# Forecast


def test_the_forecast_is_for_this_machine(ws: Workspace) -> None:
    resolved = configure.examine(ws, "base_template: starter\n").resolved
    assert resolved is not None
    whole = configure.estimate(ws, resolved.config)
    short = configure.estimate(ws, resolved.config, longest=200)
    assert set(whole.parts) == {"weights", "adapter", "optimizer", "activations", "logits", "overhead"}
    assert (whole.device.kind, whole.device.free_gib, whole.fits) == ("cpu", 9.0, True)
    assert short.total_gib < whole.total_gib < 6
    assert whole.source == "counted"


def test_a_model_of_unknown_shape_has_no_forecast(ws: Workspace) -> None:
    resolved = configure.examine(ws, "model: {base_model_name: someone/model}").resolved
    assert resolved is not None
    with pytest.raises(UserError, match=r"the shape of this model is not known before it is here"):
        configure.estimate(ws, resolved.config)
