"""Chunks of a stream that differ in their text only, told apart without reading them as JSON.

The one decision here: most chunks of an answer are one chunk with another text in it. When one of
that kind has been read, those that begin and end as it does are known by that; only a text that
stands in JSON as it is counts, so that nothing needs to be unescaped.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice

from polyroute.backends.openai.sse import Event
from polyroute.types import Json, JsonObject

__all__ = ["Alike"]

_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_SAID = frozenset({"role", "content"})
_TRIES = 16
"""Chunks of one stream that are looked at; where none of them is of that kind, others are not."""
_KEYS = ('"content":"', '"content": "')


class Alike:
    r"""What the chunks of one stream have in common.

    Examples
    --------
    >>> alike = Alike()
    >>> said = '{"id":"a","choices":[{"index":0,"delta":{"content":"one"}}]}'
    >>> alike.learn(said, {"id": "a", "choices": [{"index": 0, "delta": {"content": "one"}}]})
    >>> others = [said, said.replace("one", "two"), said.replace("one", r"t\n"), said]
    >>> alike.texts_of([Event(other) for other in others])
    ['one', 'two']
    >>> alike.texts_of([Event(said.replace("a", "b"))])
    []
    """

    __slots__ = ("_begin", "_end", "_from", "_left", "_to", "chunk")

    def __init__(self) -> None:
        self.chunk: JsonObject | None = None
        """The chunk that the others are like."""
        self._begin = self._end = ""
        self._from = self._to = 0
        self._left = _TRIES

    def texts_of(self, events: Sequence[Event], place: int = 0) -> list[str]:
        """Return the texts of the chunks from `place` on, up to one that is not like it."""
        texts: list[str] = []
        if self.chunk is None:
            return texts
        for event in islice(events, place, None):
            said = event.data
            if not (said.startswith(self._begin) and said.endswith(self._end)):
                break
            # where the text is empty, or the end begins before it, there is nothing between them
            text = said[self._from : self._to]
            if event.name != "message" or not _PLAIN.fullmatch(text):
                break
            texts.append(text)
        return texts

    def learn(self, said: str, chunk: JsonObject) -> None:
        """Take a chunk as the one that others are like, if it adds a plain text and nothing else.

        Parameters
        ----------
        said : str
            The JSON of it.
        chunk : mapping
            What that says.
        """
        if not self._left or (self.chunk is not None and said.startswith(self._begin)):
            return
        self._left -= 1
        text = _only_text(chunk)
        if text is None or not _PLAIN.fullmatch(text):
            return
        for key in _KEYS:
            begin, found, rest = said.partition(key)
            if found and rest.startswith(f'{text}"') and said.count('"content"') == 1:
                self.chunk = chunk
                self._begin, self._end = begin + key, rest[len(text) :]
                self._from, self._to = len(self._begin), -len(self._end)


def _only_text(chunk: Mapping[str, Json]) -> str | None:
    """Return the text of a chunk that has one choice, the first, and in it only who says what."""
    choices = chunk.get("choices")
    if chunk.get("usage") or not isinstance(choices, list) or len(choices) != 1:
        return None
    choice = choices[0]
    if choice.get("index", 0) != 0 or choice.get("finish_reason") or choice.get("logprobs"):
        return None
    delta = choice.get("delta")
    if not isinstance(delta, dict) or not delta.keys() <= _SAID:
        return None
    text = delta.get("content")
    return text if isinstance(text, str) else None
