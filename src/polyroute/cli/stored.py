"""Finding records, and saying which of them are damaged."""

from polyroute.cli.console import plural, warn
from polyroute.errors import RecordError
from polyroute.records.record import Record
from polyroute.records.store import RecordStore
from polyroute.types import Json

__all__ = ["question_of", "report_problems", "the_record"]


def the_record(store: RecordStore, id: str) -> Record:
    """Return the record `id` names: an id, its beginning, or ``last`` for the newest.

    Raises
    ------
    RecordError
        If there is none, or more than one.
    """
    if id != "last":
        return store.get(id)
    newest = store.list(limit=1)
    if not newest:
        raise RecordError('there are no records yet; make one: polyroute ask "..."')
    return newest[0]


def report_problems(store: RecordStore) -> bool:
    """Name every entry of `store` that cannot be read; return whether there is one."""
    problems = store.problems()
    for problem in problems[:_SHOWN]:
        warn(f"{problem.where} cannot be read: {problem.reason}")
    if len(problems) > _SHOWN:
        warn(f"and {plural(len(problems) - _SHOWN, 'further entry')} cannot be read")
    return bool(problems)


_SHOWN = 5


def question_of(record: Record) -> str:
    """Return the text of the last user message, as far as the record has kept it."""
    messages: list[Json] = record.request.get("messages") or []
    asked = (m.get("content") for m in reversed(messages) if m.get("role") == "user")
    content = next(asked, None)
    if isinstance(content, list):
        texts = (str(part.get("text")) for part in content if part.get("type") == "text")
        return "\n".join(texts) or "(no text)"
    return str(content) if content else "(text not kept)"
