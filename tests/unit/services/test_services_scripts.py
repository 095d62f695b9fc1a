"""A test script runs in the background, survives whatever happens, and is judged blind."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.errors import DataError, NotFoundError, UserError
from medlora.feedback import scripts as stored
from medlora.feedback.records import Rating
from medlora.feedback.scripts import Owner
from medlora.services import audit, feedback, script_files, script_sheets, scripts
from medlora.services.chat import ChatService
from medlora.services.chat_events import Broken, EngineEvent, Finished, Numbered, Question, Started, Text
from medlora.services.scripts import Prompt, Script, ScriptRunner, Seat
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_tokenizer

PROMPTS = (Prompt("What is asthma?", "that it can be treated"), Prompt("What is a stroke unit?"))
EMERGENCY = Prompt("My dad is not breathing")
EVIL = "Rest a little. You are not having a heart attack. The secret tail must never be seen."


@dataclass
class Voices:
    """An engine that answers each speaker with its number; it can wait for a sign, or break."""

    go: threading.Event | None = None
    breaks_at: str = ""
    asked: list[str] = field(default_factory=list)

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        for _, event in self.compare([question], owner):
            yield event

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        said = questions[0].messages[-1]["content"]
        self.asked.append(said)
        if self.go is not None:
            assert self.go.wait(30)
        for number, question in enumerate(questions):
            yield number, Started(question.base.name, None, f"{number}" * 12)
            if self.breaks_at and self.breaks_at in said:
                yield number, Broken("adapter x: it is damaged")
                continue
            yield number, Text(f"Answer by voice {number}. ", 1)
            yield number, Finished(stopped=False, tokens=4)

    def stop(self, owner: str) -> None: ...
    def warm(self) -> None: ...
    def free(self, reason: str) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def seats(tmp_path: Path) -> list[Seat]:
    made = []
    for name in ("one", "two", "three"):
        folder = tmp_path / name
        make_tiny_tokenizer(folder)
        (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"")
        made.append(Seat(base_model=str(folder)))
    return made


def run(ws: Workspace, script: Script, engine: Voices | None = None) -> scripts.ScriptState:
    return scripts.run_script(ws, ChatService(ws, engine or Voices()), script.script_id)


def complete(ws: Workspace, seats: list[Seat], *prompts: Prompt) -> Script:
    script = scripts.create_script(ws, "Clinic", prompts or PROMPTS, seats)
    assert run(ws, script).status == "complete"
    return script


# Prompts
def test_prompts_are_lines_of_text_or_json() -> None:
    text = '\ufeffWhat is asthma?\n\n{"question": " And COPD? ", "expect": "smoking"}\n' + json.dumps(
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Third?"}]}
    )
    assert scripts.read_prompts(text) == (
        Prompt("What is asthma?"), Prompt("And COPD?", "smoking"), Prompt("Third?"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n \n", "script: there are no prompts; write one a line, or choose a file"),
        ("Fine?\n{torn", "line 2: it is no JSON object; mend it or write plain text"),
        (
            '{"prompt": 3}',
            "line 1: prompt: it must be a text (one of prompt, question, instruction, message)",
        ),
        ('{"prompt": "x", "expect": 3}', "line 1: expect: it must be a text"),
        ("x" * 8001, "script: prompt 1 is too long (got 8001 characters, at most 8000); shorten it"),
        ("x\n" * 2001, "script: there are too many prompts (got 2001, at most 2000)"),
    ],
)
def test_prompts_that_cannot_be_used_are_told_by_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        scripts.read_prompts(text)
    assert str(refused.value) == message


def test_one_to_four_different_speakers_answer(ws: Workspace) -> None:
    for seats in ([], [Seat(base_model=str(n)) for n in range(5)]):
        with pytest.raises(UserError, match=r"1 to 4 can answer side by side"):
            scripts.create_script(ws, "x", PROMPTS, seats)
    with pytest.raises(UserError, match="the same one is chosen twice"):
        scripts.create_script(ws, "x", PROMPTS, [Seat("a"), Seat("a")])


# Run
def test_every_prompt_is_answered_by_everyone_behind_the_safety_layer(
    ws: Workspace, seats: list[Seat]
) -> None:
    engine = Voices()
    script = scripts.create_script(ws, "Clinic", (*PROMPTS, EMERGENCY), seats[:2])
    assert scripts.read_state(ws, script.script_id).status == "new"
    state = run(ws, script, engine)
    assert (state.status, state.done, state.total) == ("complete", 3, 3)
    assert engine.asked == [prompt.text for prompt in PROMPTS], "an emergency reaches no model"
    answers = stored.read_answers(ws, script)
    assert [answer.text for answer in answers[0]] == ["Answer by voice 0. ", "Answer by voice 1. "]
    assert [answer.action for answer in answers[2]] == ["block", "block"]


def test_a_script_goes_on_where_it_was_stopped(ws: Workspace, seats: list[Seat]) -> None:
    engine = Voices(go=threading.Event())
    service = ChatService(ws, engine)
    script = scripts.create_script(ws, "Clinic", PROMPTS, seats[:2])
    runner = ScriptRunner(ws, service)
    runner.start(script.script_id, user="ada")
    with pytest.raises(UserError, match="another one is running"):
        runner.start(script.script_id)
    runner.stop(script.script_id)
    runner.stop(script.script_id)
    engine.go.set() if engine.go else None
    runner.wait(30)
    stopped = scripts.read_state(ws, script.script_id)
    assert stopped.status == "stopped" and stopped.done <= 1, "at most the prompt that was being answered"
    assert {entry["user"] for entry in audit.read_audit(ws).entries} == {"ada"}, "the audit knows who asked"
    assert run(ws, script).status == "complete"


def test_an_app_that_died_leaves_a_script_that_can_go_on(ws: Workspace, seats: list[Seat]) -> None:
    script = scripts.create_script(ws, "Clinic", PROMPTS, seats[:1])
    assert stored.claim_script(ws, script, Owner(999_999_999, 1.0))
    assert scripts.read_state(ws, script.script_id).status == "interrupted"
    assert run(ws, script).status == "complete"


def test_two_cannot_run_one_script(ws: Workspace, seats: list[Seat]) -> None:
    script = scripts.create_script(ws, "Clinic", PROMPTS, seats[:1])
    assert stored.claim_script(ws, script, Owner(1, 1.0))
    assert not stored.claim_script(ws, script, Owner(2, 2.0)), "what was read before is no longer true"


def test_a_failed_run_says_why_on_disk_and_can_go_on(ws: Workspace, seats: list[Seat]) -> None:
    script = scripts.create_script(ws, "Clinic", PROMPTS, seats[:2])
    runner = ScriptRunner(ws, ChatService(ws, Voices(breaks_at="stroke")))
    runner.start(script.script_id)
    runner.wait(30)
    state = scripts.read_state(ws, script.script_id)
    assert (state.status, state.done) == ("failed", 1)
    assert state.script.problem == (
        "script Clinic: it stopped at a prompt that was not answered (adapter x: it is damaged)"
    )
    engine = Voices()
    assert run(ws, script, engine).status == "complete"
    assert engine.asked == ["What is a stroke unit?"], "what was answered is not asked again"


def test_a_deleted_script_ends_and_takes_its_unrated_answers_along(ws: Workspace, seats: list[Seat]) -> None:
    script = complete(ws, seats[:2])
    rated = stored.read_answers(ws, script)[0][0]
    feedback.rate_answer(ws, rated, Rating(rated.answer_id, "Ada", safety="safe"))
    scripts.delete_script(ws, script.script_id)
    assert [item.answer for item in feedback.list_ratings(ws)] == [rated]
    assert b"voice 1" not in b"".join(path.read_bytes() for path in ws.feedback.iterdir())
    with pytest.raises(NotFoundError, match="script: there is none of this id"):
        scripts.read_state(ws, script.script_id)


# Judge
def test_each_rater_sees_an_order_of_their_own_that_stays(ws: Workspace, seats: list[Seat]) -> None:
    script = complete(ws, seats)
    given = stored.read_answers(ws, script)[0]
    orders = {
        script_sheets.shuffle_for(script.script_id, 0, f"rater {number}", given) for number in range(100)
    }
    assert len(orders) == 6, "all orders of three answers come up"
    again = [script_sheets.read_sheet(ws, script, 0, "Ada").answers for _ in range(3)]
    assert again[0] == again[1] == again[2]


def test_prompts_are_judged_one_after_another_until_none_is_open(ws: Workspace, seats: list[Seat]) -> None:
    script = complete(ws, seats[:2], EMERGENCY, *PROMPTS)
    first = script_sheets.next_sheet(ws, script, "Ada")
    assert first is not None and first.position == 1, "a fixed text is nothing to choose between"
    assert script_sheets.vote_best(ws, first, 1, "Ada") == 1
    assert feedback.list_votes(ws)[0].winner == first.answers[1]
    second = script_sheets.next_sheet(ws, script, "Ada", 2)
    assert second is not None and second.position == 2
    script_sheets.vote_best(ws, second, None, "Ada")
    assert script_sheets.next_sheet(ws, script, "Ada") is None
    fresh = script_sheets.next_sheet(ws, script, "Ben")
    assert fresh is not None and fresh.position == 1, "another rater begins anew"
    (standing,) = script_sheets.script_standings(ws, script)
    assert (standing.votes, standing.ties) == (2, 1)


def test_the_best_of_three_is_preferred_to_each_other(ws: Workspace, seats: list[Seat]) -> None:
    sheet = script_sheets.read_sheet(ws, complete(ws, seats), 0, "Ada")
    assert script_sheets.vote_best(ws, sheet, 1, "Ada") == 2
    votes = feedback.list_votes(ws)
    assert {vote.winner for vote in votes} == {sheet.answers[1]}
    assert script_sheets.vote_best(ws, sheet, None, "Ben", all_bad=True) == 3
    with pytest.raises(UserError, match="there are no answers to choose between"):
        script_sheets.vote_best(ws, sheet, 3, "Ada")


# Share
def test_a_script_is_shared_with_its_answers_and_judged_elsewhere(
    ws: Workspace, seats: list[Seat], tmp_path: Path
) -> None:
    script = complete(ws, seats[:2])
    path = script_files.export_script(ws, script, tmp_path / "clinic.jsonl", with_answers=True)
    elsewhere = Workspace.open(tmp_path / "elsewhere")
    copy = script_files.import_script(elsewhere, path)
    assert (copy.name, copy.prompts, copy.seats) == ("Clinic", script.prompts, script.seats)
    assert scripts.read_state(elsewhere, copy.script_id).status == "complete"
    sheet = script_sheets.next_sheet(elsewhere, copy, "Ben")
    assert sheet is not None and sheet.votable
    assert {answer.weights for answer in sheet.answers} == {"000000000000", "111111111111"}
    mine = {answer.answer_id for given in stored.read_answers(ws, script).values() for answer in given}
    assert mine.isdisjoint(answer.answer_id for answer in sheet.answers)


def test_a_shared_script_without_answers_holds_prompts_alone(
    ws: Workspace, seats: list[Seat], tmp_path: Path
) -> None:
    path = script_files.export_script(ws, complete(ws, seats[:2]), tmp_path / "c.jsonl", with_answers=False)
    assert "voice" not in path.read_text(encoding="utf-8")
    copy = script_files.import_script(ws, path, [Seat("letters")], "Mine")
    assert (copy.name, copy.seats) == ("Mine", (Seat("letters"),))
    assert scripts.read_state(ws, copy.script_id).status == "new"


def test_what_a_file_brings_as_an_answer_is_judged_before_it_is_seen(
    ws: Workspace, seats: list[Seat], tmp_path: Path
) -> None:
    path = script_files.export_script(ws, complete(ws, seats[:1]), tmp_path / "c.jsonl", with_answers=True)
    path.write_text(path.read_text(encoding="utf-8").replace("Answer by voice 0. ", EVIL), encoding="utf-8")
    answers = stored.read_answers(ws, script_files.import_script(ws, path))
    assert all(
        "secret tail" not in given[0].text and given[0].action == "block" for given in answers.values()
    )


@pytest.mark.parametrize(
    ("head", "row", "message"),
    [
        ('{"medlora_script": 9}', "", "line 1: medlora_script: only version 1 is known (got 9); "
         "update medlora"),
        ('{"medlora_script": 1, "seats": []}', "", "line 1: seats: there must be 1 to 4 (got 0)"),
        (
            '{"medlora_script": 1, "seats": [{"adapter": 3}]}', "",
            "line 1: seats: each is an object with adapter (a name or null) and base_model",
        ),
        (
            '{"medlora_script": 1, "seats": [{"adapter": null, "base_model": "x"}]}',
            '{"prompt": "x", "answers": []}\n{"prompt": "y", "answers": [1, 2]}',
            "line 3: answers: there must be one for each of the 1 speakers",
        ),
        (
            '{"medlora_script": 1, "seats": [{"adapter": null, "base_model": "x"}]}',
            '{"prompt": "y", "answers": [{"text": 1}]}',
            "line 2: answers: each is an object with text, base_model, adapter, weights, level, action, "
            "system_prompt, catalogue",
        ),
    ],
)  # fmt: skip
def test_a_broken_shared_file_is_told_by_line_and_leaves_nothing(
    ws: Workspace, tmp_path: Path, head: str, row: str, message: str
) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(f"{head}\n{row}", encoding="utf-8")
    with pytest.raises(DataError) as refused:
        script_files.import_script(ws, path)
    assert str(refused.value) == message
    assert scripts.list_scripts(ws) == []


def test_a_file_of_prompts_is_no_shared_script(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("What is asthma?", encoding="utf-8")
    with pytest.raises(UserError, match=r"^prompts\.txt: it is no shared script"):
        script_files.import_script(ws, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it is not UTF-8 text"):
        script_files.import_script(ws, path)


# The command line
def test_the_command_line_makes_shares_takes_in_and_deletes(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLORA_HOME", str(ws.home))
    prompts = tmp_path / "clinic.txt"
    prompts.write_text("What is asthma?\nWhat is COPD?\n", encoding="utf-8")

    def say(*words: str) -> str:
        done = CliRunner().invoke(cli, ["script", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    made = json.loads(say("new", str(prompts), "--adapter", "letters", "--base", "starter", "--json"))
    assert (made["name"], made["status"], made["done"], made["total"]) == ("clinic", "new", 0, 2)
    assert made["speakers"][1] == {"adapter": None, "base_model": "starter", "server": None}
    target = tmp_path / "shared.jsonl"
    assert json.loads(say("export", made["script_id"], "--to", str(target), "--json"))["prompts"] == 2
    copy = json.loads(say("import", str(target), "--name", "Copy", "--json"))
    assert copy["name"] == "Copy"
    assert json.loads(say("votes", made["script_id"], "--json")) == []
    assert say("delete", made["script_id"], "--yes") == f"{made['script_id']}: deleted\n"
    assert [item["name"] for item in json.loads(say("list", "--json"))] == ["Copy"]
    assert "0 of 2" in say("list")
