"""What an OpenAI-compatible endpoint is sent, and what its bodies and chunks mean. No network.

The one decision here: what an upstream says of tokens and of itself decides a bill, so it is
believed only where it agrees with itself; where it does not, the usage is unknown, which is not 0.
"""

import re
from collections.abc import Mapping

from msgspec import Struct, field

from polyroute.backends import json_text
from polyroute.decision import Call
from polyroute.errors import BackendError
from polyroute.ledger import SNAPSHOT
from polyroute.pool import ModelCard
from polyroute.types import Json, JsonObject, Request, Usage

__all__ = [
    # out
    "request_body",
    # in
    "Completion", "StreamedCompletion", "parse", "read_completion", "read_usage",
    # who answered
    "answered_by",
]  # fmt: skip

_OURS = frozenset({"model", "messages", "stream", "stream_options"})
"""Fields of the body that parameters never set."""

_FINAL = ("id", "type", "index")
"""Fields of a streamed message that are said once, or again and again, and never in pieces."""


def request_body(call: Call, request: Request, *, model: str, stream: bool) -> bytes:
    """Return the body that asks `call`, as JSON.

    Every parameter goes as it came, unknown ones too, but for ``model``, ``messages`` and
    ``stream``: those are said by the call.

    Raises
    ------
    BackendError
        If a message or a parameter is nothing that JSON can express.
    """
    params = call.merged_params(request)
    options = params.get("stream_options")
    if not _OURS.isdisjoint(params):
        params = {key: value for key, value in params.items() if key not in _OURS}
    body: dict[str, Json] = {
        "model": model,
        "messages": [message.to_json() for message in call.messages(request)],
        **params,
    }
    if stream:
        asked = options if isinstance(options, Mapping) else {}
        body |= {"stream": True, "stream_options": {**asked, "include_usage": True}}
    try:
        return json_text.write(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise BackendError(
            f"the call cannot be written as JSON ({error}); check its messages and parameters",
            kind="bad_request",
        ) from error


class Completion(Struct, frozen=True, kw_only=True):
    """What an upstream said, read."""

    text: str = ""
    fields: JsonObject = field(default_factory=dict)
    """Fields of the message besides its role and text."""
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None
    usage: Usage | None = None
    model: str | None = None
    """The name the upstream gave itself."""
    stop: JsonObject = field(default_factory=dict)
    """``{"stop": …}`` where the upstream says what ended the text: a stop string, or `None` when
    the model ended it. Empty where it does not say."""


def parse(body: bytes | str) -> dict[str, Json]:
    """Read a JSON object.

    Raises
    ------
    BackendError
        Of kind ``invalid_reply``, if it is anything else.
    """  # noqa: DOC501
    try:
        wire = json_text.read(body)
    except (ValueError, RecursionError):
        wire = None
    if not isinstance(wire, dict):
        start = body[:80].decode("utf-8", "replace") if isinstance(body, bytes) else body[:80]
        raise _invalid(f"what came is no JSON object: it begins with {start!r}")
    return wire


def read_completion(body: Mapping[str, Json]) -> Completion:
    """Read the body of a completion that was not streamed.

    Raises
    ------
    BackendError
        Of kind ``invalid_reply``, if it holds no message.
    """  # noqa: DOC501
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _invalid("the body has no choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise _invalid("the first choice has no message")
    content = message.get("content")
    said = {key: value for key, value in message.items() if key not in ("role", "content")}
    reason, model = choice.get("finish_reason"), body.get("model")
    return Completion(
        text=content if isinstance(content, str) else _text(content),
        fields={**said, "content": content} if isinstance(content, list) else said,
        finish_reason=reason if isinstance(reason, str) else None,
        logprobs=tuple(_logprobs(choice)) or None if choice.get("logprobs") else None,
        usage=read_usage(body.get("usage")),
        model=model if isinstance(model, str) else None,
        stop=_stop(choice),
    )


class StreamedCompletion:
    """Put the chunks of a streamed completion together, one after the other."""

    def __init__(self) -> None:
        self.started = False
        """Whether a piece of the message has come: text, a tool call, reasoning."""
        self.done = False
        """Whether the upstream said that the stream ends here."""
        self.characters = 0
        """Length of the text so far."""
        self._chunks = 0
        self._text: list[str] = []
        self._fields: dict[str, Json] = {}
        self._tool_calls: dict[int, dict[str, Json]] = {}
        self._finish_reason: str | None = None
        self._logprobs: list[float] = []
        self._usage: Json = None
        self._model: str | None = None
        self._stop: JsonObject = {}

    def add(self, chunk: Mapping[str, Json]) -> str:
        """Take in one chunk and return the text that it adds to the first choice.

        Raises
        ------
        BackendError
            Of kind ``invalid_reply``, if it is no chunk of a completion.
        """  # noqa: DOC501
        if not self._model:
            self._model = _string(chunk.get("model"))
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        if choices is None and "usage" in chunk:
            return ""
        if not isinstance(choices, list):
            raise _invalid("a chunk of the stream has no list of choices")
        text = ""
        for choice in choices:
            if not isinstance(choice, dict):
                raise _invalid("a choice of a chunk is no object")
            if choice.get("index", 0) == 0:
                text += self._choice(choice)
        self._chunks += bool(choices)
        return text

    def add_texts(self, texts: list[str]) -> None:
        """Take in chunks that add these texts to the first choice, and nothing else."""
        self._text += texts
        self.characters += sum(map(len, texts))
        self._chunks += len(texts)
        self.started = True

    def _choice(self, choice: Mapping[str, Json]) -> str:
        if choice.get("finish_reason"):
            self._finish_reason = _string(choice["finish_reason"]) or self._finish_reason
            self._stop = _stop(choice)
        if choice.get("logprobs"):
            self._logprobs += _logprobs(choice)
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise _invalid("the delta of a chunk is no object")
        content = delta.get("content")
        text = content if isinstance(content, str) else _text(content)
        self._text.append(text)
        self.characters += len(text)
        for key, value in delta.items():
            if key == "role":
                continue
            if key == "tool_calls":
                self._add_tool_calls(value or ())
            elif key != "content":
                self._fields[key] = _joined(self._fields.get(key), value, key)
                self.characters += len(value) if isinstance(value, str) else 0
            if value and not self.started:
                self.started = True
        return text

    def _add_tool_calls(self, pieces: Json) -> None:
        if not isinstance(pieces, (list, tuple)) or not all(isinstance(p, dict) for p in pieces):
            raise _invalid("the tool calls of a chunk are no list of objects")
        for piece in pieces:
            index = piece.get("index")
            if not isinstance(index, int):
                index = self._place_of(piece.get("id"))
            known = self._tool_calls.get(index, {})
            self._tool_calls[index] = _joined(known, piece, "tool_calls")

    def _place_of(self, tool_call_id: Json) -> int:
        """Where a piece without an index belongs: some servers number nothing."""
        for index, known in self._tool_calls.items():
            if tool_call_id is not None and known.get("id") == tool_call_id:
                return index
        last = max(self._tool_calls, default=-1)
        return last if tool_call_id is None and last >= 0 else last + 1

    @property
    def finished(self) -> bool:
        """Whether the message is whole, whatever happens to the connection now."""
        return self._chunks > 0 and (self.done or self._finish_reason is not None)

    def completion(self) -> Completion:
        """Return what has come so far.

        Raises
        ------
        BackendError
            Of kind ``invalid_reply``, if no chunk has come.
        """  # noqa: DOC501
        if not self._chunks:
            raise _invalid("the stream holds no chunk of a completion")
        said = dict(self._fields)
        if self._tool_calls:
            said["tool_calls"] = [
                {key: value for key, value in call.items() if key != "index"}
                for _, call in sorted(self._tool_calls.items())
            ]
        return Completion(
            text="".join(self._text),
            fields=said,
            finish_reason=self._finish_reason,
            logprobs=tuple(self._logprobs) or None,
            usage=read_usage(self._usage),
            model=self._model,
            stop=self._stop,
        )


def read_usage(wire: Json) -> Usage | None:
    """Read a ``usage`` object into disjoint counts.

    Returns
    -------
    Usage or None
        `None` when a count is missing, is no count, or contradicts another: more cached tokens
        than prompt tokens, more reasoning than completion, a total that is not the sum. One other
        convention is recognised by its total: reasoning tokens that come on top of
        ``completion_tokens``.

    Examples
    --------
    >>> read_usage({"prompt_tokens": 9, "completion_tokens": 4,
    ...             "prompt_tokens_details": {"cached_tokens": 8}})
    Usage(input=1, output=4, cached=8, reasoning=0)
    >>> read_usage({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 50}) is None
    True
    """
    if not isinstance(wire, (dict, Mapping)):
        return None
    prompt, completion = wire.get("prompt_tokens"), wire.get("completion_tokens")
    # an exact type: true is an int
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or completion < 0:
        return None
    cached, reasoning = _detail(wire, "prompt", "cached"), _detail(wire, "completion", "reasoning")
    if cached is None or reasoning is None:
        return None
    total = wire.get("total_tokens")
    if total is not None and total == prompt + completion + reasoning:
        completion += reasoning
    elif total is not None and total != prompt + completion:
        return None
    if cached > prompt or reasoning > completion:
        return None
    return Usage(prompt - cached, completion - reasoning, cached, reasoning)


def answered_by(said: str | None, *, asked: str, card: ModelCard) -> str | None:
    """Return the name of the model that answered, when it is another one than was asked.

    Parameters
    ----------
    said : str, optional
        The name the upstream gave itself.
    asked : str
        The upstream's name for the card.
    card : ModelCard
        The card that was asked.

    Returns
    -------
    str or None
        `None`: the card itself. That is so when `said` is `asked`, a file path that ends in it
        (``/models/x.gguf`` for ``x``), its last part (``x`` for ``maker/x``), or its dated
        snapshot (``x-2026-01-31``) where the card goes by another name than `asked`, so that the
        bill could not know. Any other name is kept: a prefix that the upstream added may be
        another tier at another price.

    Examples
    --------
    >>> card = ModelCard(id="small")
    >>> answered_by("/models/x.gguf", asked="x", card=card) is None
    True
    >>> answered_by("turbo/x", asked="x", card=card)
    'turbo/x'
    """
    if not said or said == asked:
        return None
    said_parts, asked_parts = _parts(said), _parts(asked)
    is_file = said.startswith(("/", "./", "~")) or said.endswith(".gguf") or said[1:3] == ":\\"
    if is_file and said_parts[-len(asked_parts) :] == asked_parts:
        return None
    if said_parts == asked_parts[-1:]:
        return None
    if asked not in (card.id, *card.aliases) and SNAPSHOT.fullmatch(said.removeprefix(asked)):
        return None
    return said


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", name.removesuffix(".gguf")) if part]


def _joined(old: Json, new: Json, key: str) -> Json:
    """Join two pieces of one streamed field: texts and lists grow, objects field by field."""
    if new is None or old is None:
        return old if new is None else new
    if key in _FINAL:
        return old or new
    if isinstance(old, str) and isinstance(new, str):
        # a function's name comes whole, and from some servers again with every piece
        return old if key == "name" and new == old else old + new
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{k: _joined(old.get(k), value, k) for k, value in new.items()}}
    return new


def _text(content: Json) -> str:
    """Return the text of a message's content, which is a string, parts, or nothing."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise _invalid("the content of the message is neither text nor parts")
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _logprobs(choice: Mapping[str, Json]) -> list[float]:
    logprobs = choice.get("logprobs")
    if logprobs is None:
        return []
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    found = [t.get("logprob") for t in tokens or () if isinstance(t, dict)]
    return [float(p) for p in found if isinstance(p, (int, float))]


def _stop(choice: Mapping[str, Json]) -> JsonObject:
    """Read vLLM's ``stop_reason`` or SGLang's ``matched_stop``; a number there is a token."""
    for key in ("stop_reason", "matched_stop"):
        if key in choice:
            return {"stop": _string(choice[key])}
    return {}


def _detail(wire: Mapping[str, Json], group: str, name: str) -> int | None:
    """Return a count among the details of another; `None` when it is none, 0 when none is given."""
    details = wire.get(f"{group}_tokens_details")
    if not details or not isinstance(details, (dict, Mapping)):
        return 0
    count = details.get(f"{name}_tokens")
    if count is None:
        return 0
    return count if type(count) is int and count >= 0 else None


def _string(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _invalid(what: str) -> BackendError:
    return BackendError(f"not a completion: {what}", kind="invalid_reply", billed=True)
