"""A causal language model of transformers in this process, exact to the token.

The one decision here: an episode is one sequence of tokens. The model's turns of it are sampled
after one another into the same sequence, so what a trainer learns from is, token by token, what
was sampled, and the cache of one turn serves the next.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from polyroute.backends.transformers.decode import Batch, Turn
from polyroute.backends.transformers.extra import torch
from polyroute.backends.transformers.load import Loaded, load
from polyroute.backends.transformers.sampling import Sampler
from polyroute.backends.transformers.session import Session, Tokens
from polyroute.backends.transformers.wording import TAIL, Wording
from polyroute.decision import Call
from polyroute.errors import BackendError, ConfigError
from polyroute.pool import ModelCard
from polyroute.protocols import Emit
from polyroute.trace import Reply, Trace
from polyroute.types import JsonObject, Message, Usage

__all__ = ["Transformers"]

_SESSIONS = 4096
"""Episodes whose tokens are kept when nobody forgets them; then the oldest go."""


class Transformers:
    """Answer calls with a model of transformers, many at a time.

    Calls that are made at the same time share the steps of the model. A call whose
    `polyroute.decision.Call.prefix` continues the transcript of the same request is appended to
    the same sequence of tokens: what was sampled stays as it was sampled, what others wrote since
    is tokenised alone, and only that is computed. Requests need ids of their own, also when they
    ask the same (the samples of a group).

    A reply does not depend on the calls that share its batch, but for rounding: its randomness is
    its own, from the seed (the call's, or the request's) and the number of the turn.

    Parameters it knows: ``temperature`` (default 0), ``top_p``, ``seed``, ``stop``,
    ``max_tokens`` and ``ignore_eos`` (go on to the limit). The stop string is cut off the text
    and given as ``stop`` in `polyroute.trace.Reply.fields`; its tokens stay in the sequence. A
    reply's `logprobs` are the model's own, one for each sampled token, the one that ends the turn
    included.

    Parameters
    ----------
    model : str
        A folder, a name on the Hugging Face hub, or the name of embedded weights (``smollm2``).
        It has to be a model whose layers all read every earlier token.
    adapter : str, optional
        Folder of a PEFT adapter to put on top.
    dtype : {"float32", "bfloat16", "float16"}, default="float32"
        Of the weights.
    parallel : int, default=64
        Turns that are decoded at once; further ones wait.
    max_tokens : int, default=256
        Longest completion of a call that sets no limit.
    system : str, optional
        System message for conversations that have none. Without it such a conversation gets what
        the chat template puts there.

    Raises
    ------
    ConfigError
        If there is no such model, or it is of another kind, or a number is out of range.
    MissingExtraError
        If torch or transformers is not installed.
    """

    def __init__(
        self,
        *,
        model: str,
        adapter: str | None = None,
        dtype: str = "float32",
        parallel: int = 64,
        max_tokens: int = 256,
        system: str | None = None,
    ) -> None:
        for name, value in (("parallel", parallel), ("max_tokens", max_tokens)):
            if value < 1:
                raise ConfigError(f"transformers: {name} must be 1 or more, got {value!r}")
        loaded = load(model, adapter=adapter, dtype=dtype)
        self._setup(loaded, parallel=parallel, max_tokens=max_tokens, system=system)

    @classmethod
    def of(
        cls,
        model: Any,  # noqa: ANN401 - a model of transformers, which has no annotations
        tokenizer: Any,  # noqa: ANN401
        *,
        parallel: int = 64,
        max_tokens: int = 256,
        system: str | None = None,
    ) -> Self:
        """Return a backend around a model that is loaded already, shared and not copied.

        A trainer that changes the weights calls `refresh` afterwards.
        """
        backend = cls.__new__(cls)
        loaded = Loaded(model, tokenizer)
        backend._setup(loaded, parallel=parallel, max_tokens=max_tokens, system=system)
        return backend

    def _setup(self, loaded: Loaded, *, parallel: int, max_tokens: int, system: str | None) -> None:
        config = loaded.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
        if kinds:
            raise ConfigError(
                f"transformers: a model of {config.model_type!r} has layers of "
                f"{', '.join(sorted(kinds))}, and this backend needs layers that read every "
                "earlier token (Llama, Qwen2, Qwen3, SmolLM); serve it elsewhere, and use the "
                "openai backend"
            )
        self.reuse = True
        """Whether the keys and values of one turn serve the next; off only to measure it."""
        self.model = loaded.model
        """The model itself."""
        self.tokenizer = loaded.tokenizer
        """Its tokenizer."""
        self._max_tokens = max_tokens
        self._wording = Wording(loaded.tokenizer, system)
        self._window: int | None = getattr(config, "max_position_embeddings", None)
        self._ends = _end_ids(loaded)
        self._stops: dict[str, int | None] = {}
        self._batch: Batch | None = Batch(loaded.model, parallel=parallel)
        self._sessions: dict[tuple[str, str], Session] = {}

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Ask the model; see `polyroute.protocols.Backend.complete`.

        Raises
        ------
        BackendError
            Of kind ``context`` when the prompt does not fit into the window, ``bad_request`` for
            a parameter out of range or an image, ``unavailable`` when the backend is closed.
        asyncio.CancelledError
            When the task is cancelled; the turn ends before its next token.
        """
        del emit  # a turn is short, and others share its steps
        begin = time.monotonic()
        batch = self._open_batch()
        key = (trace.request.id, call.model)
        params = call.merged_params(trace.request)
        session = self._session_of(key, call, trace)
        seed = params.get("seed")
        turn = self._turn(session, params, trace.pool.card(call.model), (
            trace.request.seed if seed is None else seed, session.turns
        ))  # fmt: skip
        session.busy, session.used = True, begin
        try:
            await _sampled(turn, batch)
        except asyncio.CancelledError:
            # its last step may still run: whoever asks again begins anew
            if self._sessions.get(key) is session:
                del self._sessions[key]
            raise
        finally:
            if self._sessions.get(key) is not session:
                batch.release(session)
        if turn.error is not None:
            raise BackendError(f"{call.model} failed: {turn.error}", kind="backend", billed=True)
        if turn.finish_reason is None:
            raise BackendError(f"the model of {call.model!r} is closed")
        return self._reply(call, turn, time.monotonic() - begin)

    async def close(self) -> None:
        """End the calls that run, and free the memory of the cache and of the model."""
        if self._batch is None:
            return
        batch, self._batch = self._batch, None
        await asyncio.to_thread(batch.close)
        batch.model = None
        self.model = None
        self._sessions.clear()

    def session(self, request_id: str, card: str | None = None) -> Tokens:
        """Return the tokens of an episode.

        Parameters
        ----------
        request_id : str
            Id of the request.
        card : str, optional
            Id of the card that was asked, where this backend answers for several.

        Raises
        ------
        ConfigError
            If no such episode is known (never asked, forgotten, or long ago).
        """
        found = [s for (r, c), s in self._sessions.items() if r == request_id and card in (None, c)]
        if len(found) != 1:
            raise ConfigError(
                f"{len(found)} sessions of request {request_id!r} with card {card!r}, expected "
                "one; name the card when there are several"
            )
        return found[0].tokens()

    def forget(self, request_id: str) -> None:
        """Free what is kept of an episode; unknown ones are no error."""
        for key in [key for key in self._sessions if key[0] == request_id]:
            self._drop(key)

    def refresh(self, state: Mapping[str, Any] | None = None) -> None:
        """Compute everything anew from here on, because the weights have changed.

        Turns that are being sampled go on with the keys and values they have.

        Parameters
        ----------
        state : mapping, optional
            Weights to copy into the model (a ``state_dict``, converted to the model's own
            precision); without it the model was changed in place. Waits for the running step.

        Raises
        ------
        ConfigError
            If a name of `state` is not in the model.
        """
        batch = self._open_batch()
        if state is not None:
            own = self.model.state_dict()
            unknown = [name for name in state if name not in own]
            if unknown:
                raise ConfigError(
                    f"{len(unknown)} weights are not in the model, the first is {unknown[0]!r}; "
                    "give the state_dict of the same architecture"
                )
            with batch.lock, torch().no_grad():
                for name, value in state.items():
                    own[name].copy_(value)
        batch.invalidate()

    def paused(self) -> AbstractContextManager[Any]:
        """Return a context in which no step runs: the model's weights may be changed in it."""
        return self._open_batch().lock

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a prompt, up to where the model's own turn begins.

        With the chat template where the tokenizer has one; else the conversation as text, and a
        line end.
        """
        return self._wording.prompt_ids(messages)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a piece of the transcript, tokenised alone."""
        return self._wording.encode(text)

    def decode(self, ids: Sequence[int], before: Sequence[int] = ()) -> str:
        """Return the text of `ids`, as it reads after the tokens `before`."""
        return self._wording.decode(ids, before)

    @property
    def cache_bytes(self) -> int:
        """Memory of the keys and values, in bytes."""
        return 0 if self._batch is None else self._batch.rows.nbytes

    @property
    def work(self) -> tuple[int, int]:
        """Forward passes, and tokens computed in them (padding not counted), so far."""
        return (0, 0) if self._batch is None else (self._batch.steps, self._batch.computed)

    def _open_batch(self) -> Batch:
        if self._batch is None:
            raise BackendError("the model in process is closed")
        return self._batch

    def _session_of(self, key: tuple[str, str], call: Call, trace: Trace) -> Session:
        """Return the session that `call` continues, or begins, with its text appended."""
        asked = call.messages(trace.request)
        if any(message.has_image for message in asked):
            raise _bad_request(f"{call.model} reads text only, and the conversation has an image")
        messages = asked[:-1] if call.prefix else asked
        session = self._sessions.get(key)
        added = None if session is None else session.text_after(messages, call.prefix)
        if session is None or session.busy or added is None:
            ids = self.prompt_ids(messages)
            busy = session is not None and session.busy
            session = Session(messages=messages, ids=ids, prompt_length=len(ids))
            added = call.prefix
            if not busy:  # two calls at once: the second has a sequence for itself
                self._keep(key, session)
        if self._window is not None and len(session.ids) >= self._window:
            raise BackendError(
                f"the prompt has {len(session.ids)} tokens, and the window of {call.model!r} is "
                f"{self._window}; shorten it",
                kind="context",
            )
        session.append(self.encode(added) if added else [], call.prefix)
        return session

    def _keep(self, key: tuple[str, str], session: Session) -> None:
        self._drop(key)
        self._sessions[key] = session
        if len(self._sessions) > _SESSIONS:
            self._drop(next(iter(self._sessions)))

    def _drop(self, key: tuple[str, str]) -> None:
        session = self._sessions.pop(key, None)
        if session is not None and not session.busy and self._batch is not None:
            self._batch.release(session)

    def _turn(
        self, session: Session, params: JsonObject, card: ModelCard, seed: tuple[int, int]
    ) -> Turn:
        limit = _number(params, "max_tokens", None)
        limit = _number(params, "max_completion_tokens", limit)
        limits = [int(limit) if limit is not None else self._max_tokens]
        limits += [card.max_output] if card.max_output is not None else []
        limits += [self._window - len(session.ids)] if self._window is not None else []
        stop = params.get("stop") or ()
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        temperature = _number(params, "temperature", 0.0)
        top_p = _number(params, "top_p", 1.0)
        if min(limits) < 1 or temperature < 0 or not 0 < top_p <= 1:
            raise _bad_request(
                "max_tokens must be 1 or more, temperature 0 or more and top_p above 0 and up to "
                f"1; got {limits[0]!r}, {temperature!r} and {top_p!r}"
            )
        single = {stop: self._stop_id(stop) for stop in stops}
        ids: dict[int, str | None] = dict.fromkeys(() if params.get("ignore_eos") else self._ends)
        ids |= {each: stop for stop, each in single.items() if each is not None}
        return Turn(
            session=session,
            sampler=Sampler(temperature=temperature, top_p=top_p, seed=[s % 2**63 for s in seed]),
            limit=min(limits),
            stop_ids=ids,
            stop_texts=tuple(stop for stop, each in single.items() if each is None),
            reuse=self.reuse,
            text=self._wording.plain,
            done=_nobody,
        )

    def _stop_id(self, stop: str) -> int | None:
        """Return the one token that is `stop`; `None` when it takes several."""
        if stop not in self._stops:
            ids = self.encode(stop)
            exact = len(ids) == 1 and self._wording.plain(ids) == stop
            self._stops[stop] = ids[0] if exact else None
        return self._stops[stop]

    def _reply(self, call: Call, turn: Turn, seconds: float) -> Reply:
        session = turn.session
        said = session.ids[turn.start : turn.start + len(turn.raw)]
        before = session.ids[max(session.prompt_length, turn.start - TAIL) : turn.start]
        whole = self.decode(said, before)
        text, stop, session.overhang = whole, "", ""
        if turn.stop is not None:
            text, stop, session.overhang = whole.partition(turn.stop)
        session.shown = call.prefix + text + stop
        return Reply(
            model=call.model,
            text=text,
            usage=Usage(input=turn.start - turn.cached, cached=turn.cached, output=len(turn.raw)),
            seconds=seconds,
            finish_reason=turn.finish_reason,
            logprobs=tuple(turn.raw),
            fields={"stop": turn.stop} if turn.finish_reason == "stop" else {},
        )


async def _sampled(turn: Turn, batch: Batch) -> None:
    """Wait until `turn` has ended; a cancelled one ends before the next step."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ended.done():
            ended.set_result(None)

    def done(turn: Turn) -> None:
        turn.session.busy = False
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:  # the loop is closed: nobody waits
            return

    turn.done = done
    batch.submit(turn)
    try:
        await ended
    except asyncio.CancelledError:
        turn.cancelled = True
        raise


def _nobody(turn: Turn) -> None:
    del turn


def _end_ids(loaded: Loaded) -> tuple[int, ...]:
    """Return the tokens by which the model says that it has finished."""
    generation = getattr(loaded.model, "generation_config", None)
    ends = getattr(generation, "eos_token_id", None)
    known = list(ends) if isinstance(ends, list) else [ends]
    known.append(loaded.tokenizer.eos_token_id)
    return tuple({each for each in known if each is not None})


def _number(params: JsonObject, name: str, default: Any) -> Any:  # noqa: ANN401
    value = params.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad_request(f"{name} must be a number, got {value!r:.50}")
    return value


def _bad_request(message: str) -> BackendError:
    return BackendError(message, kind="bad_request")
