"""Cheap facts about a request: no model, no network, well under a millisecond. One per file."""
