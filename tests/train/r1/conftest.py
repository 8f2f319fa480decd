import pytest


@pytest.fixture
def scored(monkeypatch):
    """Return how many tokens go through TRL's head, pass by pass, from here on."""
    function = pytest.importorskip("trl.trainer.utils")._ChunkedLogProbFunction
    original, counts = function.apply, []

    def counted(hidden, *more):
        counts.append(len(hidden))
        return original(hidden, *more)

    monkeypatch.setattr(function, "apply", counted)
    return counts
