"""A real merge in its own process: the merged model says what the adapter says."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from medlora.errors import RunFailedError, UserError
from medlora.services import adapter_export
from medlora.services.adapter_export import MergeView
from medlora.workspace import Workspace
from tests.speaking_models import QUESTION, SAYS, make_speaking_adapter
from tests.tiny_models import make_tiny_model


def wait(ws: Workspace, merge_id: str) -> MergeView:
    deadline = time.monotonic() + 120
    while (seen := adapter_export.view_merge(ws, merge_id)).going:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


def test_a_merged_model_answers_as_its_adapter_does(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from medlora.dataset.render import ChatTokenizer

    ws = Workspace.open(tmp_path / "home")
    make_speaking_adapter(make_tiny_model(ws.home / "tiny"), ws.adapter("kind"), SAYS)
    merge_id = adapter_export.start_merge(ws, "kind")
    seen = wait(ws, merge_id)
    assert (seen.status, seen.reason) == ("completed", None)
    assert seen.result["compared_tokens"] > 20 and seen.result["same_next_token"] > 0.95
    target = adapter_export.take_merged(ws, merge_id, tmp_path / "out" / "kind")
    assert not list(ws.merges.iterdir())
    assert {"model.safetensors", "tokenizer.json", "Modelfile", "provenance.json"} <= {
        path.name for path in target.iterdir()
    }
    provenance = json.loads((target / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["merge"]["precision"] == "bfloat16" and str(tmp_path) not in str(provenance["merge"])
    tokenizer = ChatTokenizer.load(target)
    import torch

    prompt = torch.tensor([tokenizer.encode_prompt([{"role": "user", "content": QUESTION}])])
    model = AutoModelForCausalLM.from_pretrained(target)
    told = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False)
    assert SAYS in tokenizer.decode(told[0, prompt.shape[1] :].tolist())


def test_an_adapter_of_another_base_is_not_merged(tmp_path: Path) -> None:
    ws = Workspace.open(tmp_path / "home")
    folder = make_speaking_adapter(make_tiny_model(ws.home / "tiny"), ws.adapter("kind"), SAYS, steps=1)
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    provenance["base_model"]["weight_hash"] = "ab" * 32
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    merge_id = adapter_export.start_merge(ws, "kind")
    seen = wait(ws, merge_id)
    assert seen.status == "failed" and "it was trained on other weights than the base model" in str(
        seen.reason
    )
    with pytest.raises(RunFailedError, match="it was trained on other weights"):
        adapter_export.take_merged(ws, merge_id, tmp_path / "out")
    (ws.adapter("kind") / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="it cannot be merged"):
        adapter_export.start_merge(ws, "kind")
