"""Conversations that somebody wished to keep: one SQLite file in the private folder, made on that wish."""
