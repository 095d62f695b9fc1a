"""What a Space says of itself, who comes in there, and what its demo shows."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.requests import Request

from medlora.access.roles import Role
from medlora.errors import RunFailedError, UserError
from medlora.services import adapters, data, train
from medlora.services.chat_events import Finished, ModelFolder, Question, Stage, Text
from medlora.space import zero_gpu
from medlora.space.demo import ADAPTER, demo_home
from medlora.space.hub_login import HubLogin
from medlora.space.launch import launch_options
from medlora.space.settings import SpaceSettings, is_space, read_settings
from medlora.workspace import CHECKOUT

SPACE = {
    "SYSTEM": "spaces",
    "SPACE_ID": "clinic/medlora",
    "SPACE_HOST": "clinic-medlora.hf.space",
    "SPACE_AUTHOR_NAME": "clinic",
}
WHOLE = {**SPACE, "MEDLORA_SPACE": "whole", "OAUTH_CLIENT_ID": "x", "MEDLORA_HOME": "/data/medlora"}


def test_a_space_is_told_by_its_variables() -> None:
    assert is_space(SPACE) and not is_space({}) and not is_space({"SPACE_ID": "a/b"})


def test_a_space_is_a_demo_unless_it_is_told_otherwise() -> None:
    settings = read_settings({**SPACE, "SPACES_ZERO_GPU": "true"})
    assert (settings.whole, settings.zero_gpu, settings.host) == (False, True, "clinic-medlora.hf.space")
    options = launch_options(settings)
    assert (options.host, options.access.hosts) == ("0.0.0.0", ("clinic-medlora.hf.space",))
    assert options.frame_ancestors == "https://huggingface.co"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MEDLORA_SPACE": "everything"}, "demo or whole (got 'everything')"),
        ({"SPACES_ZERO_GPU": "true"}, "a run cannot train on ZeroGPU"),
        ({"OAUTH_CLIENT_ID": ""}, "the whole app needs the Hub's login"),
        ({"MEDLORA_HOME": ""}, "needs storage that lasts"),
    ],
)
def test_the_whole_app_needs_a_gpu_of_its_own_a_login_and_storage(
    changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_settings({**WHOLE, **changes})
    assert message in str(caught.value)


def hub_request(path: str = "/", method: str = "GET", name: str = "", ends: float = 2000.0) -> Request:
    info = {"expires_at": ends, "userinfo": {"preferred_username": name}}
    session: dict[str, Any] = {"oauth_info": info} if name else {}
    scope = {"type": "http", "method": method, "path": path, "headers": [], "session": session}
    return Request({**scope, "query_string": b"", "scheme": "https", "server": ("x", 443)})


def test_the_hub_says_who_it_is_and_the_space_who_may_come_in() -> None:
    login = HubLogin(read_settings({**WHOLE, "MEDLORA_TESTERS": "Nurse, doc"}), lambda: 1000.0)
    roles = {name: login.caller(hub_request(name=name)) for name in ("clinic", "NURSE", "stranger", "")}
    assert {name: caller and caller.role for name, caller in roles.items()} == {
        "clinic": Role.ADMIN,
        "NURSE": Role.TESTER,
        "stranger": None,
        "": None,
    }
    assert login.caller(hub_request(name="clinic", ends=999.0)) is None, "the Hub's login has expired"


def test_the_way_to_the_hub_is_open_and_nothing_else_is() -> None:
    login = HubLogin(SpaceSettings(host="x", whole=True), lambda: 1000.0)
    assert login.passes(hub_request("/login/huggingface")) and login.passes(hub_request("/login/callback"))
    assert not login.passes(hub_request("/config"))
    assert not login.passes(hub_request("/login/callback", method="POST"))
    page = login.turn_away(hub_request())
    assert page.status_code == 200 and b"/login/huggingface" in page.body
    refused = login.turn_away(hub_request(name="<b>mallory"))
    assert refused.status_code == 403 and b"has no access here" in refused.body and b"<b>" not in refused.body
    assert login.turn_away(hub_request("/config")).status_code == 401


def test_logging_out_forgets_the_hubs_word() -> None:
    login = HubLogin(SpaceSettings(host="x", whole=True, admins=frozenset({"clinic"})), lambda: 1000.0)
    request = hub_request("/logout", "POST", name="clinic")
    with ThreadPoolExecutor(1) as pool:  # this thread may have a loop of its own: the browser tests'
        reply = pool.submit(asyncio.run, login.answer(request)).result()
    assert reply is not None and reply.headers["location"] == "/"
    assert login.caller(request) is None


def test_the_demo_shows_what_was_committed_and_leaves_nothing() -> None:
    with demo_home(CHECKOUT) as workspace:
        assert [card.name for card in data.list_datasets(workspace)] == ["sample"]
        (adapter,) = adapters.list_adapters(workspace)
        assert (adapter.name, adapter.problem, adapter.base_model) == (ADAPTER, "", "starter")
        (run,) = train.list_runs(workspace)
        assert (run.status, run.adapter_name) == ("completed", ADAPTER)
        assert len(train.view(workspace, run.run_id).state.loss_points) > 100
        folder = workspace.home
    assert not folder.exists()


def test_the_demos_adapter_is_small_and_names_no_machine() -> None:
    folder = CHECKOUT / "adapters" / ADAPTER
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5 * 2**20
    for path in files:
        if path.suffix != ".safetensors":
            text = path.read_text(encoding="utf-8")
            assert not re.findall(r"""["'\s(](?:/[\w.-]+){2,}""", text), path
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    import hashlib

    weights = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert provenance["weights_sha256"] == weights
    sample = CHECKOUT / "data" / "sample_patient_education.jsonl"
    assert provenance["dataset"]["sha256"] == hashlib.sha256(sample.read_bytes()).hexdigest()


def test_the_readme_makes_the_repository_a_space() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["sdk"] == "gradio" and front["app_file"] == "app.py" and front["python_version"] == "3.12"
    requirements = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8")
    assert front["sdk_version"].startswith("6.31.") and "gradio>=6.31,<7" in requirements
    assert "flash-attn" not in requirements, "it cannot be built there"
    assert len(front["short_description"]) <= 60


def test_what_a_gpu_is_lent_to_is_a_plain_generator() -> None:
    """spaces.GPU takes an async generator without a word and fails when it is called."""
    assert inspect.isgeneratorfunction(zero_gpu.speak)
    for path in (CHECKOUT / "medlora" / "space").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.AsyncFunctionDef) and path.name == "zero_gpu.py"), path


def test_spaces_is_imported_before_anything_that_may_touch_cuda() -> None:
    tree = ast.parse((CHECKOUT / "app.py").read_text(encoding="utf-8"))
    imports = [
        node.names[0].name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert sorted(imports)[:1] and imports[0] == "os"
    first = next(node for node in tree.body if isinstance(node, ast.If))
    assert [item.name for node in first.body if isinstance(node, ast.Import) for item in node.names] == [
        "spaces"
    ]
    later = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert all(node.lineno > first.lineno for node in later)


def scripted(said: list[Mapping[str, Any]]) -> Any:
    def speak(message: dict[str, Any], stop_file: str) -> Iterator[Mapping[str, Any]]:
        for item in said:
            if Path(stop_file).exists():
                yield {"ev": "done", "stopped": True, "truncated": False}
                return
            yield item

    return speak


QUESTION = Question(ModelFolder("m", "/m"), None, ({"role": "user", "content": "hello"},))
SAID: list[Mapping[str, Any]] = [
    {"ev": "stage", "stage": "loading_model"},
    {"ev": "text", "text": "Hello", "tokens": 1},
    {"ev": "text", "text": " there", "tokens": 2},
    {"ev": "done", "stopped": False, "truncated": False},
]


def test_the_engine_in_the_web_process_speaks_as_the_one_in_its_own() -> None:
    engine = zero_gpu.InProcessEngine(scripted(SAID))
    events = list(engine.generate(QUESTION, "a"))
    assert events[0] == Stage("loading_model")
    assert "".join(event.text for event in events if isinstance(event, Text)) == "Hello there"
    assert isinstance(events[-1], Finished)
    assert [number for number, _ in engine.compare([QUESTION, QUESTION], "a")] == [0] * 4 + [1] * 4
    engine.close()


def test_stop_reaches_the_process_that_has_the_gpu() -> None:
    engine = zero_gpu.InProcessEngine(scripted(SAID))
    events = []
    for event in engine.generate(QUESTION, "a"):
        events.append(event)
        engine.stop("a")
    assert isinstance(events[-1], Finished) and events[-1].stopped
    engine.close()


def test_a_gpu_that_is_not_lent_is_said_in_words() -> None:
    def speak(message: dict[str, Any], stop_file: str) -> Iterator[dict[str, Any]]:
        raise RuntimeError("quota")
        yield {}

    engine = zero_gpu.InProcessEngine(speak)
    with pytest.raises(
        RunFailedError, match=r"chat: the Space lent no GPU \(RuntimeError\); try again later"
    ):
        list(engine.generate(QUESTION, "a"))
    engine.close()


@pytest.mark.torch
def test_a_real_model_answers_in_the_web_process(tmp_path: Path) -> None:
    from tests.tiny_models import make_tiny_model

    folder = make_tiny_model(tmp_path / "tiny", "llama")
    question = Question(
        ModelFolder("tiny", str(folder)), None, ({"role": "user", "content": "How are you?"},)
    )
    engine = zero_gpu.InProcessEngine(zero_gpu.speak)
    events = list(engine.generate(question, "a"))
    assert isinstance(events[-1], Finished) and events[-1].tokens > 0
    engine.close()


def test_short_runs_are_the_demos_alone_and_can_be_switched_off() -> None:
    assert read_settings(SPACE).short_runs
    assert not read_settings({**SPACE, "MEDLORA_SHORT_RUNS": "off"}).short_runs
    assert not read_settings({**SPACE, "SPACES_ZERO_GPU": "true"}).short_runs, "a run is lent no GPU there"
    assert not read_settings(WHOLE).short_runs
    with pytest.raises(UserError, match=r"env MEDLORA_SHORT_RUNS: on or off \(got '1'\)"):
        read_settings({**SPACE, "MEDLORA_SHORT_RUNS": "1"})
