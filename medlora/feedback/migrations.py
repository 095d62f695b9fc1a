"""The steps from each version of the file to the next. A step that was released is never edited."""

from __future__ import annotations

_ANSWERS_RATINGS_VOTES = """
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
CREATE INDEX votes_left ON votes (left_id);
CREATE INDEX votes_right ON votes (right_id);
"""

_SCRIPTS = """
CREATE TABLE scripts (
    script_id TEXT PRIMARY KEY, name TEXT NOT NULL, created TEXT NOT NULL, prompts TEXT NOT NULL,
    seats TEXT NOT NULL, stop INTEGER NOT NULL DEFAULT 0, owner_pid INTEGER, owner_start REAL,
    problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE script_answers (
    script_id TEXT NOT NULL REFERENCES scripts ON DELETE CASCADE,
    position INTEGER NOT NULL, seat INTEGER NOT NULL,
    answer_id TEXT NOT NULL REFERENCES answers ON DELETE CASCADE,
    PRIMARY KEY (script_id, position, seat)
) STRICT;
CREATE INDEX script_answers_answer ON script_answers (answer_id);
"""

MIGRATIONS: tuple[str, ...] = (_ANSWERS_RATINGS_VOTES, _SCRIPTS)
"""What leads from version n to n + 1, n counted from 0: an empty file."""
