"""Adapters from elsewhere: what fits comes in whole, everything else is refused with its reasons."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlora.errors import UserError
from medlora.models.adapter_check import KNOWN_SETTINGS
from medlora.services import adapters
from medlora.services.adapter_import import import_adapter
from medlora.workspace import Workspace
from tests.adapter_files import WEIGHTS, change_provenance, change_settings, change_tensors, write_adapter
from tests.tiny_models import make_tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def ws(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A home whose Hub cache holds the base model as acme/tiny."""
    hub = tmp_path / "hub"
    snapshot = hub / "models--acme--tiny" / "snapshots" / "abc"
    shutil.copytree(base, snapshot)
    (hub / "models--acme--tiny" / "refs").mkdir()
    (hub / "models--acme--tiny" / "refs" / "main").write_text("abc", encoding="utf-8")
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def given(tmp_path: Path, base: Path) -> Path:
    return write_adapter(base, tmp_path / "given" / "clinic")


def pack(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"{folder.name}/{path.name}")
    return target


def refusal(ws: Workspace, source: Path, **options: Any) -> str:
    with pytest.raises(UserError) as refused:
        import_adapter(ws, source, **options)
    assert list(ws.adapters.iterdir()) == [], "nothing of it is kept"
    return str(refused.value)


def test_the_settings_that_are_known_are_those_of_the_installed_peft() -> None:
    code = (
        "import dataclasses, json, peft\n"
        "print(json.dumps([f.name for f in dataclasses.fields(peft.LoraConfig)]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout.splitlines()[-1])) | {"runtime_config"} == KNOWN_SETTINGS


@pytest.mark.parametrize("form", ["folder", "zip", "tar.gz"])
def test_an_adapter_comes_in_whole_from_each_form(
    ws: Workspace, given: Path, tmp_path: Path, form: str
) -> None:
    source = given
    if form == "zip":
        source = pack(given, tmp_path / "clinic.zip")
    elif form == "tar.gz":
        source = tmp_path / "clinic.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(given, "clinic")
    result = import_adapter(ws, source)
    card = adapters.show(ws, result.name)
    assert (result.name, card.base_model, card.rank, card.imported, card.problem) == (
        "clinic", "acme/tiny", 4, True, "",
    )  # fmt: skip
    assert (card.path / WEIGHTS).read_bytes() == (given / WEIGHTS).read_bytes()
    assert import_adapter(ws, source).name == "clinic-2"


def test_modules_that_were_trained_whole_come_in(ws: Workspace, given: Path) -> None:
    head = {"base_model.model.lm_head.weight": np.zeros((512, 64), np.float32)}
    change_tensors(given, lambda tensors: {**tensors, **head})
    assert "its settings speak of no weight of this name" in refusal(ws, given)
    change_settings(given, modules_to_save=["lm_head"])
    assert import_adapter(ws, given).name == "clinic"


def test_what_was_exported_can_be_imported_again(ws: Workspace, given: Path) -> None:
    name = import_adapter(ws, given).name
    again = import_adapter(ws, adapters.export_zip(ws, name), name="back")
    assert again.name == "back" and adapters.weights_hash(ws.adapter("back")) == adapters.weights_hash(
        ws.adapter(name)
    )


def test_a_sign_off_from_elsewhere_is_left_behind(ws: Workspace, given: Path) -> None:
    (given / "sign_off.json").write_text('{"by": "Somebody"}', encoding="utf-8")
    assert not (ws.adapter(import_adapter(ws, given).name) / "sign_off.json").exists()


SETTINGS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"spell": 1}, "settings that PEFT 0.21 does not know (spell); save it with that version"),
    ({"peft_type": "IA3"}, "peft_type: only LoRA adapters can be used (got 'IA3')"),
    ({"r": 0}, "r: must be a whole number from 1 to 1024 (got 0)"),
    ({"r": 8}, "its weights are not of rank 8 as the settings say"),
    ({"lora_alpha": "x"}, "lora_alpha: must be a number above 0 (got 'x')"),
    ({"init_lora_weights": "pissa"}, "it rewrites the base model's weights (got 'pissa')"),
    ({"layers_to_transform": ["0"]}, "layers_to_transform: must be a list of layer numbers"),
    ({"bias": "some"}, "bias: must be one of none, all, lora_only (got 'some')"),
    (
        {"bias": "all", "modules_to_save": ["lm_head"]},
        "bias: cannot be imported together with modules_to_save",
    ),
    ({"auto_mapping": {"parent_library": "evil"}}, "auto_mapping: only LoRA and DoRA on linear layers"),
    ({"target_modules": ["q_proj"]}, "the weights also hold layers it leaves out (o_proj)"),
    ({"target_modules": ["q_proj", "o_proj", "k_proj"]}, "there are no weights for k_proj"),
    ({"target_modules": ".*"}, "target_modules: must be a list of layer names, or all-linear"),
]


@pytest.mark.parametrize(("changes", "message"), SETTINGS_REFUSED, ids=lambda value: str(value)[:40])
def test_settings_that_do_not_fit_are_refused(
    ws: Workspace, given: Path, changes: dict[str, Any], message: str
) -> None:
    change_settings(given, **changes)
    assert message in refusal(ws, given)


def _spoil(value: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        next(iter(tensors.values()))[0, 0] = value
        return tensors

    return change


def _drop_half(tensors: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in tensors.items() if not k.endswith("layers.1.self_attn.q_proj.lora_B.weight")}


def _drop_layer(tensors: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in tensors.items() if "layers.1.self_attn.q_proj" not in k}


def _widen(tensors: dict[str, Any]) -> dict[str, Any]:
    return {k: np.zeros((4, 96), np.float32) if k.endswith("A.weight") else v for k, v in tensors.items()}


TENSORS_REFUSED = [
    (_spoil(float("nan")), "it holds numbers that are not finite"),
    (_spoil(float("inf")), "it holds numbers that are not finite"),
    (_drop_half, "model.layers.1.self_attn.q_proj: one half of its weights is missing"),
    (_drop_layer, "model.layers.1.self_attn.q_proj: the settings name it, and there are no weights for it"),
    (_widen, "made for a layer of 64 x 96, the base model's is 64 x 64"),
    (
        lambda t: {k.replace("layers.1", "layers.7"): v for k, v in t.items()},
        "the base model has no such layer",
    ),
    (
        lambda t: {**t, "lm_head.weight": np.zeros((2, 2), np.float32)},
        "its settings speak of no weight of this name",
    ),
    (lambda t: {k: v.astype(np.int32) for k, v in t.items()}, "only floating-point weights are taken"),
]


@pytest.mark.parametrize(("change", "message"), TENSORS_REFUSED)
def test_weights_that_do_not_fit_are_refused(ws: Workspace, given: Path, change: Any, message: str) -> None:
    change_tensors(given, change)
    assert message in refusal(ws, given)


def test_a_bfloat16_number_that_is_not_finite_is_found(tmp_path: Path) -> None:
    from medlora.models.tensor_files import is_finite, read_tensor_header

    for bits, fine in ((0x3F80, True), (0x7F7F, True), (0x7F80, False), (0xFFC0, False)):
        data = np.array([0x3F80, bits], "<u2").tobytes()
        header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
        path = tmp_path / "w.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + data)
        assert is_finite(path, read_tensor_header(path)["w"]) is fine


QWEN = "base_model.model.model.layers.{}.self_attn.{}.bias"


def _with_biases(tensors: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The biases that training q_proj with bias: lora_only leaves, by PEFT's names; None leaves one out."""
    names = {f"layer_{number}": QWEN.format(number, "q_proj.base_layer") for number in (0, 1)}
    biases = {name: np.zeros(64, np.float32) for name in names.values()}
    for place, value in changed.items():
        biases[names.get(place, place)] = value
    return {**tensors, **{name: value for name, value in biases.items() if value is not None}}


BIASES: list[tuple[str, dict[str, Any], str | None]] = [
    ("lora_only", {}, None),
    ("lora_only", {"layer_1": None}, "its settings (bias: lora_only) name a bias there, and there is none"),
    ("lora_only", {"layer_0": np.zeros(32, np.float32)}, "its bias has the shape (32,), the base"),
    ("all", {}, "model.layers.0.self_attn.k_proj: its settings (bias: all) name a bias there"),
    (
        "lora_only", {QWEN.format(0, "k_proj"): np.zeros(32, np.float32)},
        "its settings (bias: lora_only) leave this bias out",
    ),
    (
        "lora_only", {QWEN.format(0, "q_proj"): np.zeros(64, np.float32), "layer_0": None},
        "PEFT 0.21 would drop this bias without a word",
    ),
    ("none", {}, "its settings speak of no weight of this name"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changed", "message"), BIASES)
def test_trained_biases_come_in_if_the_base_has_them_and_none_is_missing(
    tmp_path: Path, kind: str, changed: dict[str, Any], message: str | None
) -> None:
    ws = Workspace.open(tmp_path / "home")
    base = make_tiny_model(tmp_path / "qwen", family="qwen2")
    given = write_adapter(base, tmp_path / "given", modules=("q_proj",))
    change_settings(given, bias=kind)
    change_tensors(given, lambda tensors: _with_biases(tensors, **changed))
    if message is None:
        assert import_adapter(ws, given, base=str(base)).notices
    else:
        assert message in refusal(ws, given, base=str(base))


def test_a_cut_file_and_a_replaced_one_are_found(ws: Workspace, given: Path) -> None:
    whole = (given / WEIGHTS).read_bytes()
    (given / WEIGHTS).write_bytes(whole[:-5])
    assert "its length is not what its header says" in refusal(ws, given)
    (given / WEIGHTS).write_bytes(whole)
    change_provenance(given, weights_sha256="00" * 32)
    assert "not the weights that provenance.json speaks of" in refusal(ws, given)


def test_another_base_is_refused_by_hash_by_revision_and_by_name(ws: Workspace, given: Path) -> None:
    change_provenance(given, base_model={"name": "acme/tiny", "revision": "abc", "weight_hash": "ab" * 32})
    assert "it was trained on other weights of acme/tiny than are on this machine (abababababab" in refusal(
        ws, given
    )
    change_provenance(given, base_model={"name": "acme/tiny", "revision": "old", "weight_hash": None})
    assert "it was trained on revision old of acme/tiny, here is abc; fetch that revision" in refusal(
        ws, given
    )
    assert "it was made for acme/tiny, not for starter" in refusal(ws, given, base="starter")


@pytest.mark.parametrize("written", ["../../../etc", "/home/somebody/model", "..", "a/../b"])
def test_a_base_that_is_a_path_counts_for_nothing(ws: Workspace, given: Path, written: str) -> None:
    change_provenance(given, base_model=None)
    change_settings(given, base_model_name_or_path=written)
    assert "not a model's name" in refusal(ws, given)
    assert import_adapter(ws, given, base="acme/tiny").base_model == "acme/tiny"


def test_a_base_that_is_not_here_is_said_and_checked_later(ws: Workspace, given: Path) -> None:
    change_provenance(given, base_model={"name": "acme/other"})
    change_settings(given, base_model_name_or_path="acme/other")
    assert "acme/other is not on this machine" in " ".join(import_adapter(ws, given).notices)


def test_pickled_weights_are_refused_unread(ws: Workspace, given: Path) -> None:
    (given / WEIGHTS).unlink()
    (given / "adapter_model.bin").write_bytes(b"\x80\x04")
    assert "its weights are pickled, which can run code; only safetensors weights are taken" in refusal(
        ws, given
    )


def _zip(target: Path, members: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(info, data)
    return target


def test_zips_that_lead_elsewhere_or_swell_are_refused(ws: Workspace, given: Path, tmp_path: Path) -> None:
    plain = {f"a/{path.name}": path.read_bytes() for path in given.iterdir()}
    for bad in ("../evil.json", "/etc/evil", "a/..\\evil", "C:/evil"):
        assert "leads out of the archive" in refusal(ws, _zip(tmp_path / "x.zip", {**plain, bad: b"1"}))
    link = _zip(tmp_path / "x.zip", {**plain, "a/README.md": b"/etc/passwd"}, {"a/README.md": 0o120777})
    assert "holds a link or a device" in refusal(ws, link)
    bomb = _zip(tmp_path / "x.zip", {**plain, f"a/{WEIGHTS}": bytes(64 << 20)})
    assert "unpacks to far more than an adapter" in refusal(ws, bomb)
    many = _zip(tmp_path / "x.zip", {**plain, **{f"a/{i}.txt": b"" for i in range(300)}})
    assert "an adapter has about ten" in refusal(ws, many)
    two = _zip(tmp_path / "x.zip", {**plain, "b/adapter_config.json": b"{}"})
    assert "it must hold one adapter_config.json (got 2)" in refusal(ws, two)
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 torn")
    assert "it is neither a folder nor a zip or tar archive" in refusal(ws, tmp_path / "x.zip")


def test_tars_that_lead_elsewhere_or_swell_are_refused(ws: Workspace, given: Path, tmp_path: Path) -> None:
    def make(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> Path:
        source = tmp_path / "x.tgz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(given, "clinic")
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
        return source

    assert "leads out of the archive" in refusal(ws, make("../../evil", b"1"))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        assert "holds a link or a device" in refusal(ws, make("clinic/README.md", kind=kind))
    assert "unpacks to far more than an adapter" in refusal(ws, make("clinic/big.txt", bytes(220 << 20)))


def test_a_folder_with_links_is_refused(ws: Workspace, given: Path) -> None:
    (given / "README.md").symlink_to("/etc/passwd")
    assert "README.md is a link; copy the file itself" in refusal(ws, given)


def test_settings_of_another_version_are_kept_but_not_used(ws: Workspace, given: Path) -> None:
    change_provenance(given, config={"lora": {"r": 4, "wings": 2}})
    result = import_adapter(ws, given)
    assert "written by another version" in " ".join(result.notices)
    assert adapters.show(ws, result.name).config == {}
    assert dataclasses.is_dataclass(result)
