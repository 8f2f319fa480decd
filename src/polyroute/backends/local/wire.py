"""What llama.cpp's chat endpoint is asked, and what its chunks say.

The one decision here: log-probabilities are always asked for, because policies decide by them;
what is relayed holds only those that the request asked for.
"""

from collections.abc import Mapping
from typing import Any

from polyroute.backends.chat_completion import Completion, StreamedCompletion, read_usage
from polyroute.decision import Call
from polyroute.errors import BackendError, FailureKind
from polyroute.pool import ModelCard
from polyroute.types import Json, JsonObject, Request, Usage

__all__ = ["Generation", "read_error", "request_body"]

_SEEDS = 0xFFFF_FFFF
"""llama.cpp's seeds are below this; the value itself means "choose one"."""

_OURS = ("model", "messages", "stream", "stream_options", "max_completion_tokens")


def request_body(
    call: Call, request: Request, *, card: ModelCard, limit: int, system: str | None
) -> dict[str, Json]:
    """Return the body that asks `call`.

    Parameters
    ----------
    call, request
        What to ask.
    card : ModelCard
        Who is asked; its `max_output` is kept.
    limit : int
        Completion tokens when neither call nor request has a limit.
    system : str, optional
        System message of a conversation without one.

    Raises
    ------
    BackendError
        Of kind ``bad_request``, for an image, or a token limit that is no positive number.
    """  # noqa: DOC501
    messages = call.messages(request)
    if any(message.has_image for message in messages):
        raise _bad_request(f"{card.id} reads text only, and the conversation holds an image")
    wire = [message.to_json() for message in messages]
    if system is not None and all(m.role not in ("system", "developer") for m in messages):
        wire.insert(0, {"role": "system", "content": system})
    params = {key: value for key, value in call.merged_params(request).items() if value is not None}
    body: dict[str, Json] = {key: value for key, value in params.items() if key not in _OURS}
    body.setdefault("temperature", 0)
    if body["temperature"] != 0:
        body.setdefault("seed", request.seed % _SEEDS)
    if not params.get("tools"):  # llama.cpp refuses to stream both
        body |= {"logprobs": True, "top_logprobs": max(1, _top_logprobs(params))}
    return body | {
        "messages": wire,
        "max_tokens": _limit(params, card=card, default=limit),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # a chunk per batch of the prompt: a chance to stop
    }


class Generation:
    """Put the chunks of one reply together.

    Parameters
    ----------
    model : str
        Id of the card, the name that is relayed.
    params : mapping
        Parameters as they were asked.
    """

    def __init__(self, *, model: str, params: JsonObject) -> None:
        self.usage: Usage | None = None
        """Tokens of all choices; the prompt that they share is counted once."""
        self._model = model
        self._top = _top_logprobs(params) if params.get("logprobs") else None
        options = params.get("stream_options")
        self._wants_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        self._choices: dict[int, StreamedCompletion] = {}
        self._tokens: dict[int, list[Json]] = {}
        self._head: dict[str, Json] = {}

    def add(self, chunk: Mapping[str, Json]) -> str:
        """Take in one chunk and return the text that it adds to the first choice."""
        if "prompt_progress" in chunk:
            return ""
        self._head = self._head or {key: chunk[key] for key in ("id", "created") if key in chunk}
        usage = read_usage(chunk.get("usage"))
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + Usage(output=usage.output)
        text = ""
        for choice in chunk.get("choices", ()):
            index = choice.get("index", 0)
            streamed = self._choices.setdefault(index, StreamedCompletion())
            added = streamed.add({"choices": [{**choice, "index": 0}]})
            self._tokens.setdefault(index, []).extend(_tokens(choice))
            text += added if index == 0 else ""
        return text

    @property
    def started(self) -> bool:
        """Whether a piece of a message has come."""
        return any(choice.started or choice.finished for choice in self._choices.values())

    @property
    def finished(self) -> bool:
        """Whether every choice is whole."""
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    @property
    def first(self) -> Completion:
        """The first choice, as far as it has come."""
        return self._choices[0].completion() if 0 in self._choices else Completion()

    def relayed(self, chunk: Mapping[str, Json]) -> list[JsonObject]:
        """Return what a reader of OpenAI's stream is to see of `chunk`: one chunk, or none."""
        if "prompt_progress" in chunk or chunk.get("usage"):
            return []
        choices = [self._as_asked(choice) for choice in chunk.get("choices", ())]
        rest = {key: value for key, value in chunk.items() if key != "timings"}
        return [{**rest, "model": self._model, "choices": choices}]

    def relayed_last(self) -> list[JsonObject]:
        """Return the chunk with the usage, when it was asked for: one for all choices."""
        if not self._wants_usage or self.usage is None:
            return []
        head = {**self._head, "object": "chat.completion.chunk", "model": self._model}
        return [{**head, "choices": [], "usage": _usage_to_json(self.usage)}]

    def body(self) -> JsonObject:
        """Return the whole reply, as OpenAI's endpoint says it when it does not stream."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            said = choice.completion()
            content = said.text if said.text or not said.fields.get("tool_calls") else None
            wire: dict[str, Json] = {
                "index": index,
                "message": {"role": "assistant", "content": content, **said.fields},
                "finish_reason": said.finish_reason,
                "logprobs": {"content": self._tokens[index]},
            }
            choices.append(self._as_asked(wire))
        body: dict[str, Json] = {
            **self._head,
            "object": "chat.completion",
            "model": self._model,
            "choices": choices,
        }
        if self.usage is not None:
            body["usage"] = _usage_to_json(self.usage)
        return body

    def _as_asked(self, choice: Mapping[str, Json]) -> dict[str, Json]:
        rest = {key: value for key, value in choice.items() if key != "logprobs"}
        if self._top is None:
            return {**rest, "logprobs": None}
        tokens = [
            {**token, "top_logprobs": list(token.get("top_logprobs", ()))[: self._top]}
            for token in _tokens(choice)
        ]
        return {**rest, "logprobs": {"content": tokens} if tokens else None}


def read_error(wire: Json, *, model: str) -> BackendError:
    """Return the error that llama.cpp's ``error`` object says."""
    said: Mapping[str, Any] = wire if isinstance(wire, Mapping) else {"message": wire}
    status = said.get("code")
    message = str(said.get("message", "no reason given"))
    kind: FailureKind = "backend"
    if said.get("type") == "exceed_context_size_error":
        kind = "context"
        message = (
            f"the prompt has {said.get('n_prompt_tokens')} tokens, and the window of {model} is "
            f"{said.get('n_ctx')}; shorten it, or raise `context` of the local backend"
        )
    elif said.get("type") == "unavailable_error":
        kind = "unavailable"
    elif isinstance(status, int) and (400 <= status < 500 or status == 501):
        kind = "bad_request"
        message = f"llama.cpp rejects the call: {message}"
    return BackendError(message, kind=kind, status=status if isinstance(status, int) else None)


def _usage_to_json(usage: Usage) -> dict[str, Json]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def _limit(params: JsonObject, *, card: ModelCard, default: int) -> int:
    own = [params[key] for key in ("max_tokens", "max_completion_tokens") if key in params]
    for value in own:
        if not isinstance(value, int) or value < 1:
            raise _bad_request(f"max_tokens must be a whole number of 1 or more, got {value!r:.50}")
    limit = min(own, default=default)
    return limit if card.max_output is None else min(limit, card.max_output)


def _top_logprobs(params: JsonObject) -> int:
    top = params.get("top_logprobs")
    return top if isinstance(top, int) else 0


def _tokens(choice: Mapping[str, Json]) -> list[Json]:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return list(content or ())


def _bad_request(message: str) -> BackendError:
    return BackendError(message, kind="bad_request")
