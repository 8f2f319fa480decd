"""Predict each candidate's quality or cost from the request: one method per file, found by name."""

__all__: list[str] = []
