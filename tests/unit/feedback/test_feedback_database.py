"""The file of ratings: private, migrated, whole after a kill, shared by several writers, really forgotten."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.feedback import scripts, store
from medlora.feedback.database import connect, database_path
from medlora.feedback.migrations import MIGRATIONS
from medlora.feedback.records import Answer, Rating, Vote
from medlora.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
SECRET = "Zelda Quimby of Nowhere Lane"
WRITER = """
import sys
from pathlib import Path
from medlora.feedback import store
from medlora.feedback.records import Answer, Rating
from medlora.workspace import Workspace
ws = Workspace.open(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    answer = Answer(({"role": "user", "content": "What is asthma?"},), "It is common. " * 200, "starter")
    store.save_rating(ws, answer, Rating(answer.answer_id, sys.argv[2], safety="safe"))
    print(number, flush=True)
"""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def make_answer(text: str = "It is common.", adapter: str | None = "letters") -> Answer:
    return Answer(
        ({"role": "user", "content": "What is asthma?"},), text, "starter", adapter, "abcdef123456",
        system_prompt="Be kind.", settings={"inference": {"seed": 1}}, catalogue="2026.1",
    )  # fmt: skip


def rate(ws: Workspace, answer: Answer, rater: str = "Ada", **said: str) -> Rating:
    return store.save_rating(ws, answer, Rating(answer.answer_id, rater, **said))  # type: ignore[arg-type]


def start_writer(ws: Workspace, rater: str, amount: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(ws.home), rater, str(amount)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_what_was_said_is_read_back_with_everything_about_the_answer(ws: Workspace) -> None:
    answer = make_answer()
    rating = rate(ws, answer, safety="unsafe", correctness="incorrect", tone="cold", correction="Better.")
    (item,) = store.list_ratings(ws)
    assert (item.rating, item.answer) == (rating, answer)


def test_a_second_word_on_an_answer_takes_the_place_of_the_first(ws: Workspace) -> None:
    answer = make_answer()
    first = rate(ws, answer, safety="safe")
    second = rate(ws, answer, safety="unsafe", comment="On reflection.")
    rate(ws, answer, "Ben", safety="safe")
    said = {item.rating.rater: item.rating for item in store.list_ratings(ws)}
    assert said["Ada"] == second and len(said) == 2
    assert (second.rating_id, second.created) == (first.rating_id, first.created)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_nobody_else_can_read_the_file_or_its_log(ws: Workspace) -> None:
    rate(ws, make_answer(), safety="safe")
    with connect(ws) as db:
        db.execute("SELECT 1 FROM ratings").fetchall()
        modes = {path.name: path.stat().st_mode & 0o777 for path in ws.feedback.iterdir()}
    assert modes == {"feedback.db": 0o600, "feedback.db-wal": 0o600, "feedback.db-shm": 0o600}
    assert ws.feedback.stat().st_mode & 0o777 == 0o700


def test_what_is_deleted_is_in_no_byte_of_the_folder(ws: Workspace) -> None:
    gone = rate(ws, make_answer(SECRET), comment=SECRET, correction=SECRET * 50)
    kept = rate(ws, make_answer(), safety="safe")
    assert any(SECRET.encode() in path.read_bytes() for path in ws.feedback.iterdir())
    assert store.delete_records(ws, [gone.rating_id]) == 1
    assert not any(SECRET.encode() in path.read_bytes() for path in ws.feedback.iterdir())
    assert [item.rating for item in store.list_ratings(ws)] == [kept]


def test_an_answer_goes_with_the_last_word_on_it_and_not_before(ws: Workspace) -> None:
    left, right = make_answer("one"), make_answer("two", None)
    rating = rate(ws, left, safety="safe")
    vote = Vote("Ada", "left", left, right)
    store.save_vote(ws, vote)
    store.delete_records(ws, [rating.rating_id])
    assert store.list_votes(ws) == [vote]
    store.delete_records(ws, [vote.vote_id])
    with connect(ws) as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone()[0] == 0


def test_a_writer_that_is_killed_leaves_every_rating_it_had_reported(ws: Workspace) -> None:
    with start_writer(ws, "Ada", 100_000) as writer:
        assert writer.stdout is not None
        reported = 0
        while reported < 20:
            reported = int(writer.stdout.readline()) + 1
        writer.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        reported += max(0, len(writer.stdout.read().splitlines()) - 1)
    assert len(store.list_ratings(ws)) >= reported
    with connect(ws) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    rate(ws, make_answer(), "Ben", safety="safe")


def test_several_writers_at_once_lose_nothing(ws: Workspace) -> None:
    with (
        start_writer(ws, "Ada", 15) as first,
        start_writer(ws, "Ben", 15) as second,
        start_writer(ws, "Cyd", 15) as third,
    ):
        for writer in (first, second, third):
            writer.communicate(timeout=120)
    assert [writer.returncode for writer in (first, second, third)] == [0, 0, 0]
    assert len(store.list_ratings(ws)) == 45


def test_work_that_fails_in_the_middle_leaves_nothing_behind(ws: Workspace) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        rate(ws, make_answer(), safety="perhaps")
    with connect(ws) as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone()[0] == 0


def test_a_file_that_is_no_database_is_named_and_kept(ws: Workspace) -> None:
    ws.feedback.mkdir()
    database_path(ws).write_bytes(b"not a database at all, but somebody's notes" * 40)
    with pytest.raises(
        UserError, match=r"^feedback\.db: the ratings cannot be read \(file is not a database\)"
    ):
        store.list_ratings(ws)
    assert database_path(ws).read_bytes().startswith(b"not a database")


def test_a_file_of_a_newer_version_is_refused_in_words(ws: Workspace) -> None:
    rate(ws, make_answer(), safety="safe")
    with connect(ws) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(UserError) as refused:
        store.list_ratings(ws)
    assert str(refused.value) == (
        f"feedback.db: it was written by a newer medlora (got version {len(MIGRATIONS) + 1}, this one reads "
        f"up to {len(MIGRATIONS)}); update medlora, or move the file away to begin a new one"
    )


def test_a_writer_waits_for_another_one_instead_of_failing(ws: Workspace) -> None:
    rate(ws, make_answer(), safety="safe")
    with ExitStack() as stack:
        with connect(ws, write=True) as db:
            db.execute("UPDATE ratings SET comment = 'held'")
            writer = stack.enter_context(start_writer(ws, "Ben", 1))
            time.sleep(0.5)
            assert writer.poll() is None
        writer.communicate(timeout=60)
    assert writer.returncode == 0
    assert sorted(item.rating.rater for item in store.list_ratings(ws)) == ["Ada", "Ben"]


VERSION_1 = """
CREATE TABLE answers (
    answer_id TEXT PRIMARY KEY, created TEXT NOT NULL, turns TEXT NOT NULL, text TEXT NOT NULL,
    base_model TEXT NOT NULL, adapter TEXT, weights TEXT, level TEXT NOT NULL, action TEXT NOT NULL,
    system_prompt TEXT NOT NULL, settings TEXT NOT NULL, catalogue TEXT NOT NULL,
    whole INTEGER NOT NULL
) STRICT;
CREATE TABLE ratings (
    rating_id TEXT PRIMARY KEY, answer_id TEXT NOT NULL REFERENCES answers ON DELETE CASCADE,
    rater TEXT NOT NULL, created TEXT NOT NULL, changed TEXT NOT NULL,
    safety TEXT CHECK (safety IN ('safe', 'unsafe')),
    correctness TEXT CHECK (correctness IN ('correct', 'incomplete', 'incorrect')),
    tone TEXT, comment TEXT NOT NULL, correction TEXT NOT NULL,
    UNIQUE (answer_id, rater)
) STRICT;
CREATE TABLE votes (
    vote_id TEXT PRIMARY KEY, created TEXT NOT NULL, rater TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('left', 'right', 'tie', 'both_bad')),
    blinded INTEGER NOT NULL,
    left_id TEXT NOT NULL REFERENCES answers ON DELETE CASCADE,
    right_id TEXT NOT NULL REFERENCES answers ON DELETE CASCADE
) STRICT;
INSERT INTO answers VALUES ('answer-a', '2026-01-01', '[{"role": "user", "content": "Old?"}]', 'Yes.',
    'starter', 'letters', 'abcdef123456', 'answer', 'answer', '', '{}', '1', 1);
INSERT INTO answers VALUES ('answer-b', '2026-01-01', '[{"role": "user", "content": "Old?"}]', 'No.',
    'starter', NULL, 'bbbbbb123456', 'answer', 'answer', '', '{}', '1', 1);
INSERT INTO ratings VALUES ('rating-a', 'answer-a', 'Ada', '2026-01-01', '2026-01-01', 'safe', 'correct',
    'fits', '', 'Better.');
INSERT INTO votes VALUES ('vote-a', '2026-01-01', 'Ada', 'left', 1, 'answer-a', 'answer-b');
PRAGMA user_version = 1;
"""


def write_version_1(ws: Workspace) -> None:
    """A file as the first version left it; this text is never brought up to date."""
    ws.feedback.mkdir(mode=0o700)
    with closing(sqlite3.connect(database_path(ws))) as db:
        db.executescript(VERSION_1)


def test_a_file_of_the_first_version_keeps_all_it_holds(ws: Workspace) -> None:
    write_version_1(ws)
    (item,) = store.list_ratings(ws)
    assert (item.rating.correction, item.answer.question, item.answer.label) == (
        "Better.", "Old?", "letters · abcdef123456",
    )  # fmt: skip
    (vote,) = store.list_votes(ws)
    assert vote.winner == item.answer
    assert scripts.list_scripts(ws) == []
    with connect(ws) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_processes_that_meet_an_old_file_at_once_migrate_it_once(ws: Workspace) -> None:
    write_version_1(ws)
    with start_writer(ws, "Ben", 3) as first, start_writer(ws, "Cyd", 3) as second:
        for writer in (first, second):
            writer.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(store.list_ratings(ws)) == 7


def test_a_migration_that_fails_leaves_the_old_file(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_version_1(ws)
    broken = (*MIGRATIONS, "CREATE TABLE fine (x TEXT); INSERT INTO nowhere VALUES (1)")
    with monkeypatch.context() as patch:
        patch.setattr("medlora.feedback.database.MIGRATIONS", broken)
        with pytest.raises(UserError, match="the ratings cannot be read"):
            store.list_ratings(ws)
    with closing(sqlite3.connect(database_path(ws))) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    assert len(store.list_ratings(ws)) == 1
