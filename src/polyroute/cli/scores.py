"""What answers were worth: from a file of scores, or from the feedback beside a record store."""

from pathlib import Path

from polyroute.errors import ConfigError
from polyroute.outcomes.rows import json_rows
from polyroute.records.feedback import rewards_of
from polyroute.records.store import RecordStore

__all__ = ["feedback_on", "scores_in", "scores_of"]


def scores_of(store: RecordStore, scores: Path | None) -> dict[str, float]:
    """Return the score of each trace: that of the file, else the newest feedback on it."""
    given = {} if scores is None else scores_in(scores)
    return {**feedback_on(store), **given}


def feedback_on(store: RecordStore) -> dict[str, float]:
    """Return the newest reward of each trace of `store`; none where no feedback is kept.

    Feedback on a trace that the store no longer has is passed over.
    """
    kept = rewards_of(store)
    rewards = {} if kept is None else kept.rewards()
    if not rewards:
        return {}
    return {record.id: rewards[record.id] for record in store if record.id in rewards}


def scores_in(path: Path) -> dict[str, float]:
    """Read JSON lines of ``{"id": a trace, "score": 0 to 1}``.

    Raises
    ------
    ConfigError
        If a row has no id, or no score from 0 to 1.
    """
    judged: dict[str, float] = {}
    for line, row in json_rows(path):
        id, score = row.get("id"), row.get("score")
        if not isinstance(id, str) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ConfigError(
                f'{path.name}, row {line}: expected {{"id": a trace, "score": 0 to 1}}, '
                f"got {row!r:.80}"
            )
        judged[id] = float(score)
    return judged
