"""The steps from each version of the file to the next. A step that was released is never edited."""

from __future__ import annotations

_CONVERSATIONS = """
CREATE TABLE owners (owner TEXT PRIMARY KEY, keeps INTEGER NOT NULL) STRICT;
CREATE TABLE conversations (
    conversation_id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, named INTEGER NOT NULL,
    created TEXT NOT NULL, changed TEXT NOT NULL, speakers TEXT NOT NULL
) STRICT;
CREATE TABLE turns (
    conversation_id TEXT NOT NULL REFERENCES conversations ON DELETE CASCADE,
    position INTEGER NOT NULL, role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    content TEXT NOT NULL, details TEXT NOT NULL,
    PRIMARY KEY (conversation_id, position)
) STRICT;
CREATE INDEX conversations_owner ON conversations (owner, changed);
"""

MIGRATIONS: tuple[str, ...] = (_CONVERSATIONS,)
"""What leads from version n to n + 1, n counted from 0: an empty file."""
