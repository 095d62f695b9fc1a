"""A server's models are compared blind and put to test scripts, only by the server that was chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.errors import UserError
from medlora.services import blind, configure, evaluate, script_files, scripts
from medlora.services.chat import ChatService
from medlora.services.scripts import Prompt, Seat
from medlora.services.served_seats import name_seat, served_seat
from medlora.ui import compare_section
from medlora.workspace import Workspace
from tests.wire_server import saying, serve

DRAFT = """
inference:
  base_url: {url}
  served_models: [plain, /srv/models/tuned]
"""
QUESTION = Prompt("What is asthma?")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def _seats(ws: Workspace) -> list[Seat]:
    config = configure.resolve_draft(ws)
    return [served_seat(config, model) for model in ("plain", "/srv/models/tuned")]


def test_a_servers_models_are_compared_blind(ws: Workspace) -> None:
    service = ChatService(ws)
    with serve(saying("Asthma is common.")) as server:
        configure.save_draft(ws, DRAFT.format(url=server.url))
        keys = [choice[1] for choice in compare_section.offer_seats(ws, None, None)[0]["choices"]]
        assert keys == ["base:starter", "served:plain", "served:/srv/models/tuned"]
        *_, last = compare_section.ask(service, QUESTION.text, "served:plain", "served:/srv/models/tuned")
    duel = last[0]
    assert duel.can_vote
    assert {answer.text for answer in duel.answers} == {"Asthma is common."}
    host = server.url.removeprefix("http://").removesuffix("/v1")
    done = compare_section.vote(ws, duel, "left", "Dr Who")[1]
    assert f"plain at {host}" in done and f"tuned at {host}" in done


def test_a_script_is_put_to_a_server_and_shared(ws: Workspace, tmp_path: Path) -> None:
    service = ChatService(ws)
    with serve(saying("Asthma is common.")) as server:
        configure.save_draft(ws, DRAFT.format(url=server.url))
        made = scripts.create_script(ws, "clinic", [QUESTION], _seats(ws))
        assert scripts.run_script(ws, service, made.script_id).status == "complete"
        assert sorted(str(exchange.body["model"]) for exchange in server.asked) == [
            "/srv/models/tuned",
            "plain",
        ]
    path = script_files.export_script(ws, made, tmp_path / "s.jsonl", with_answers=True)
    assert script_files.import_script(ws, path).seats == made.seats
    assert [name_seat(seat) for seat in made.seats] == [
        f"{name} at {server.url[7:-3]}" for name in ("plain", "tuned")
    ]


def test_a_prompt_goes_to_no_other_server_than_the_one_chosen_for_it(ws: Workspace) -> None:
    configure.save_draft(ws, DRAFT.format(url="http://127.0.0.1:9/v1"))
    made = scripts.create_script(ws, "clinic", [QUESTION], _seats(ws))
    configure.save_draft(ws, DRAFT.format(url="http://127.0.0.1:8/v1"))
    with pytest.raises(
        UserError,
        match=r"^plain at 127\.0\.0\.1:9: the configuration does not name this server \(got "
        r"http://127\.0\.0\.1:8/v1\); set inference\.base_url to http://127\.0\.0\.1:9/v1$",
    ):
        scripts.run_script(ws, ChatService(ws), made.script_id)
    with pytest.raises(UserError, match="does not name this server"):
        blind.begin_duel(ChatService(ws), QUESTION.text, (made.seats[0], made.seats[1]))


def test_prompts_that_name_a_person_do_not_leave_this_machine(ws: Workspace) -> None:
    configure.save_draft(ws, DRAFT.format(url="https://gpu.example/v1") + "  allow_remote: true\n")
    named = Prompt("Mr John Smith, born 3 March 1950, has asthma")
    made = scripts.create_script(ws, "clinic", [QUESTION, named], _seats(ws)[:1])
    with pytest.raises(UserError, match=r"prompt 2 may identify a person .* leave this machine for gpu\.ex"):
        scripts.run_script(ws, ChatService(ws), made.script_id)
    assert scripts.read_state(ws, made.script_id).status == "failed"


def test_an_evaluation_says_why_a_server_cannot_be_measured(ws: Workspace) -> None:
    configure.save_draft(ws, DRAFT.format(url="http://127.0.0.1:9/v1"))
    with pytest.raises(UserError) as refused:
        evaluate.start(ws, evaluate.EvaluationWish("plain"))
    assert str(refused.value) == (
        "evaluation: plain is a model of the server at 127.0.0.1:9, which tells words and not the "
        "probabilities that loss is measured by; compare it blind, or put it to a test script"
    )


def test_the_command_line_puts_a_script_to_the_server_of_a_file(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_HOME", str(ws.home))
    prompts, config = tmp_path / "clinic.txt", tmp_path / "served.yaml"
    prompts.write_text(QUESTION.text, encoding="utf-8")
    with serve(saying("Asthma is common.")) as server:
        config.write_text(DRAFT.format(url=server.url), encoding="utf-8")

        def say(*words: str) -> dict[str, object]:
            done = CliRunner().invoke(cli, ["script", *words, "--config", str(config), "--json"])
            assert done.exit_code == 0, done.output
            return dict(json.loads(done.stdout))

        made = say("new", str(prompts), "--served", "plain")
        assert made["speakers"] == [{"adapter": None, "base_model": "plain", "server": server.url}]
        assert say("run", str(made["script_id"]))["status"] == "complete"
