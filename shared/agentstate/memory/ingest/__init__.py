"""Transcripts: read their formats and store each turn once."""
