"""Ways out of the library that need no model: Ollama's file and the Hub, whose network alone is a double."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from medlora.errors import UserError
from medlora.services import adapter_export, adapter_library, adapters
from medlora.workspace import Workspace
from tests.adapter_files import change_provenance, write_adapter
from tests.tiny_models import make_tiny_model


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = Workspace.open(tmp_path / "home")
    folder = write_adapter(make_tiny_model(tmp_path / "tiny"), ws.adapter("clinic"))
    safety = {"system_prompt": 'Be """kind""".'}
    inference = {"temperature": 0.3, "max_new_tokens": 256, "context_length": None}
    change_provenance(folder, config={"safety": safety, "inference": inference})
    (folder / "evaluation.json").write_text('{"answers": "rows of a dataset"}', encoding="utf-8")
    return ws


def test_ollamas_file_holds_prompt_and_sampling_and_cannot_be_broken_out_of(ws: Workspace) -> None:
    text = adapter_export.write_modelfile(adapters.show(ws, "clinic"), merged=True)
    assert text.splitlines() == [
        "# clinic, made with medlora. Ollama does not run medlora's safety layer.",
        "FROM .",
        "PARAMETER temperature 0.3",
        "PARAMETER num_predict 256",
        'SYSTEM """Be \'\'kind\'\'."""',
    ]
    assert "ADAPTER ." in adapter_export.write_modelfile(adapters.show(ws, "clinic"), merged=False)


class FakeHub:
    """The Hub's client as far as a push uses it; `error` is what its network answers with."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: list[str] = []

    def create_repo(self, repository: str, **options: Any) -> None:
        if self.error:
            raise self.error
        self.calls.append((repository, options))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> SimpleNamespace:
        self.files = sorted(path.name for path in Path(folder_path).iterdir())
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/1")


def connect(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> FakeHub:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    return hub


def test_a_push_is_private_and_takes_only_what_was_published(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_library.set_notes(ws, "clinic", "for us alone")
    hub = connect(monkeypatch, FakeHub())
    assert adapter_export.push(ws, "clinic", "acme/clinic") == "https://huggingface.co/acme/clinic/commit/1"
    assert hub.calls == [("acme/clinic", {"private": True, "exist_ok": True})]
    assert hub.files == [
        "adapter_config.json", "adapter_model.safetensors", "provenance.json", "safety_settings.json",
    ]  # fmt: skip
    assert list((ws.cache / "exports").iterdir()) == []


def test_what_the_hub_refuses_is_said_in_words(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    response = httpx.Response(403, request=httpx.Request("POST", "https://huggingface.co"))
    connect(monkeypatch, FakeHub(HfHubHTTPError("no", response=response)))
    with pytest.raises(UserError) as refused:
        adapter_export.push(ws, "clinic", "acme/clinic")
    assert str(refused.value) == (
        "Hub: acme/clinic cannot be written (status 403); HF_TOKEN must allow writing it"
    )
    client = sys.modules[
        HTTPError.__module__.partition(".")[0]
    ]  # what this version of the Hub's library asks with
    connect(monkeypatch, FakeHub(client.ConnectError("refused")))
    with pytest.raises(UserError, match=r"^Hub: it cannot be reached \(ConnectError\); try again later$"):
        adapter_export.push(ws, "clinic", "acme/clinic")
    with pytest.raises(UserError, match=r"^repository: must be owner/name \(got '../x'\)$"):
        adapter_export.push(ws, "clinic", "../x")
