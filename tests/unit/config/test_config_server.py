"""A server may be named; one on another machine only with a word that conversations may go there."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlora.config.schema import Config
from medlora.config.server import is_loopback, server_of
from medlora.services import configure
from medlora.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def _examine(ws: Workspace, lines: str) -> tuple[list[str], list[str]]:
    text = "model:\n  base_model_name: starter\ninference:\n" + "".join(
        f"  {line}\n" for line in lines.split("; ")
    )
    found = configure.examine(ws, text, "chosen", name="c.yaml")
    return [str(each) for each in found.problems], [
        str(each) for each in found.notices if each.key.startswith("inference")
    ]


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.0.0.2:80", "http://[::1]:8/v1"])
def test_this_machine_needs_no_permission(workspace: Workspace, url: str) -> None:
    assert _examine(workspace, f"base_url: '{url}'; served_models: [a]") == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.evil.example/v1",
        "http://localhost.evil/v1",
        "http://10.0.0.1/v1",
        "http://0.0.0.0/v1",
    ],
)
def test_what_only_looks_like_this_machine_is_another(url: str) -> None:
    assert not is_loopback(url)


def test_another_machine_needs_a_word_and_an_encrypted_way(workspace: Workspace) -> None:
    problems, _ = _examine(workspace, "base_url: https://gpu.example/v1; served_models: [a]")
    assert problems == [
        "c.yaml:4:3: inference.base_url: it is another machine, so every conversation with its models would "
        "leave this one (got https://gpu.example/v1); write `allow_remote: true` below `inference` if they "
        "may"
    ]
    allowed = "served_models: [a]; allow_remote: true; base_url: "
    assert _examine(workspace, allowed + "https://gpu.example/v1") == ([], [])
    assert _examine(workspace, allowed + "http://gpu.example/v1")[1] == [
        "c.yaml:6:3: inference.base_url: the way there is not encrypted (got http://gpu.example/v1); "
        "use https"
    ]


@pytest.mark.parametrize(
    "url", ["http://ada:key@gpu.example/v1", "gpu.example/v1", "file:///etc", "http://a?key=b"]
)
def test_an_address_with_a_key_in_it_or_none_is_refused(workspace: Workspace, url: str) -> None:
    problems, _ = _examine(workspace, f"base_url: '{url}'; served_models: [a]; allow_remote: true")
    assert len(problems) == 1 and "must be the address of a server" in problems[0]


def test_a_server_without_models_says_what_is_missing(workspace: Workspace) -> None:
    assert _examine(workspace, "base_url: http://127.0.0.1:1/v1") == (
        [],
        [
            "inference.served_models: is empty, so nobody there can be asked; name a model that the server "
            "offers"
        ],
    )


def test_the_server_of_a_configuration() -> None:
    assert server_of(Config().inference) is None
    named = Config.model_validate(
        {"inference": {"base_url": "http://GPU.example:8000/v1/", "served_models": ["a"]}}
    )
    server = server_of(named.inference)
    assert server is not None
    assert (server.base_url, server.host, server.is_local) == (
        "http://GPU.example:8000/v1",
        "gpu.example:8000",
        False,
    )
