"""A model file (GGUF) in this process, run by llama.cpp through xllamacpp.

The one decision here: every call is streamed from llama.cpp, whoever asks, because a stream is
what can be stopped: a cancelled call ends at its next token, or during a long prompt at its next
batch of prompt tokens. Calls that run at once share the model's batches.
"""

import asyncio
import http.client
import importlib.util
import json
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Protocol

from polyroute.backends.local.weights import model_file
from polyroute.backends.local.wire import Generation, read_error, request_body
from polyroute.decision import Call, Failure
from polyroute.errors import BackendError, ConfigError, MissingExtraError
from polyroute.protocols import Delta, Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Json, JsonObject

__all__ = ["Local"]

_LONGEST_SYSTEM = 32
"""Bytes. The ledger bounds a prompt by its bytes and some slack for the template, before this
backend sees it; a longer addition could cost more than was reserved."""

_PROMPT_BATCH = 64
"""Prompt tokens computed at once. As fast as 256 or 512 on a processor (98 tokens a second), and
a cancelled call ends, or another gets its next token, within about a second."""

_LONGEST_TOKEN = 256
"""Bytes that one token of any vocabulary stands for, at most."""

_CHUNKS_AHEAD = 64
"""Pieces of a reply that may wait for a slow reader; then llama.cpp's own queue holds them."""

_CACHE_MIB = 256
"""Memory for the prompts of former calls, so that the next one with the same start is faster."""


class Local:
    """Answer calls with a local model.

    The model is loaded at the first call. Its chat template is the one in the file. At
    temperature 0 (the default, unless the call or the request says otherwise) and under a seed a
    reply can be repeated; calls that share a batch may round differently in the last bits, which
    now and then is another token. A call without a seed gets that of the request, so two calls
    that are to differ need seeds of their own.

    `polyroute.trace.Reply.logprobs` is given for every call without tools, with or without being
    asked for. The values are the model's own, before temperature and grammar. There is no entry
    for the token that ends a reply, nor for one that ends inside a character (parts of an emoji):
    llama.cpp does not report them, while both are in the usage.

    Parameters
    ----------
    gguf : str
        A path to a ``.gguf`` file, or the name of embedded weights (``smollm2``).
    context : int, default=4096
        Tokens of prompt and completion together, for each call. Memory for all of it
        (`context` times `parallel`) is taken when the model is loaded.
    parallel : int, default=4
        Calls that are served at once; further ones wait.
    threads : int, default=1
        Compute threads. On a busy machine two can be several times slower than one, because
        each waits for the other at every layer.
    max_tokens : int, default=256
        Longest completion of a call that sets no limit.
    system : str, optional
        System message, of 32 bytes at most, for conversations that have none. Without it such a
        conversation gets what the template puts there: for many models a persona of the
        maker's, which can make a small model worse.
    adapter : str, optional
        Path of a GGUF with a low-rank adapter to put on top of the model
        (`polyroute.train.r1.adapter` writes one).

    Raises
    ------
    ConfigError
        If the file is missing or is no GGUF, or a number is out of range.
    MissingExtraError
        If xllamacpp is not installed.
    """

    def __init__(  # noqa: PLR0913 - one keyword per setting of a model
        self,
        *,
        gguf: str,
        context: int = 4096,
        parallel: int = 4,
        threads: int = 1,
        max_tokens: int = 256,
        system: str | None = None,
        adapter: str | None = None,
    ) -> None:
        for name, value in (
            ("context", context), ("parallel", parallel), ("threads", threads),
            ("max_tokens", max_tokens),
        ):  # fmt: skip
            if value < 1:
                raise ConfigError(f"local: {name} must be 1 or more, got {value!r}")
        if system is not None and len(system.encode()) > _LONGEST_SYSTEM:
            raise ConfigError(
                f"local: system may have {_LONGEST_SYSTEM} bytes, got {len(system.encode())}; "
                "put a longer one into the messages of the request"
            )
        if importlib.util.find_spec("xllamacpp") is None:
            raise MissingExtraError(_MISSING)
        self._path = model_file(gguf)
        self._adapter = None if adapter is None else model_file(adapter)
        self._context = context
        self._parallel = parallel
        self._compute_threads = threads
        self._max_tokens = max_tokens
        self._system = system
        self._key = secrets.token_hex(32)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="local-model")
        self._loading = threading.Lock()
        self._server: _Server | None = None
        self._running: set[_Chunks] = set()
        self._closed = False

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Ask the model; see `polyroute.protocols.Backend.complete`.

        All parameters that llama.cpp's chat endpoint knows may be used, among them ``grammar``
        (GBNF), ``json_schema``, ``response_format``, ``stop``, ``n`` and ``tools``.

        A slow reader holds up the pieces of the reply, not the computation: that goes on until
        the call's token limit.

        Raises
        ------
        BackendError
            Of kind ``context`` when the prompt is too long for the window, ``bad_request`` when
            llama.cpp rejects the call, ``unavailable`` when the model cannot be loaded or the
            backend is closed.
        """
        start = time.monotonic()
        card = trace.pool.card(call.model)
        self._refuse_what_cannot_fit(call, trace)
        body = request_body(
            call, trace.request, card=card, limit=self._max_tokens, system=self._system
        )
        generation = Generation(model=card.id, params=call.merged_params(trace.request))
        first_token_s: float | None = None
        held: list[Delta] = []
        emitted = False
        failure: Failure | None = None
        async with aclosing(self._chunks(body)) as chunks:
            async for chunk in chunks:
                if "error" in chunk:
                    error = read_error(chunk["error"], model=card.id)
                    if not emitted:
                        raise error
                    failure = Failure(error.failure_kind, str(error), error.status)
                    break
                text = generation.add(chunk)
                if first_token_s is None and generation.started:
                    first_token_s = time.monotonic() - start
                if emit is None:
                    continue
                held += [Delta(text, wire) for wire in generation.relayed(chunk)]
                if generation.started:
                    for delta in held:
                        emitted = True
                        await emit(delta)
                    held.clear()
        if failure is None and not generation.finished:
            raise self._ended_early()
        if emit is not None and failure is None:
            for wire in generation.relayed_last():
                await emit(Delta("", wire))
        said = generation.first
        return Reply(
            model=call.model,
            text=said.text,
            usage=None if failure else generation.usage,
            seconds=time.monotonic() - start,
            first_token_s=None if emit is None else first_token_s,
            failure=failure,
            finish_reason=said.finish_reason,
            logprobs=said.logprobs,
            fields=said.fields,
            raw=generation.body() if emit is None else None,
        )

    async def close(self) -> None:
        """Stop the calls that run, and free the model's memory."""
        self._closed = True
        for chunks in tuple(self._running):
            chunks.stop()
        await asyncio.to_thread(self._release)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` is to this model, without a chat template.

        Loads the model when it is not loaded yet, and blocks until it is.

        Raises
        ------
        BackendError
            If the model cannot be loaded.
        """
        # xllamacpp has no call for it; the server that it runs on the loopback device does
        address = self._loaded().listening_address.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", "/tokenize", json.dumps({"content": text}), headers)
            tokens = json.loads(connection.getresponse().read())["tokens"]
        finally:
            connection.close()
        return len(tokens)

    def _refuse_what_cannot_fit(self, call: Call, trace: Trace) -> None:
        """Raise without tokenising, which takes a minute for a prompt of many megabytes."""
        size = sum(len(m.text.encode("utf-8", "replace")) for m in call.messages(trace.request))
        if size > self._context * _LONGEST_TOKEN:
            raise BackendError(
                f"the prompt has {size} bytes, which cannot be fewer than "
                f"{size // _LONGEST_TOKEN} tokens; the window of {call.model!r} has "
                f"{self._context}. Shorten the prompt, or route it to a model with a longer window",
                kind="context",
            )

    async def _chunks(self, body: dict[str, Json]) -> AsyncGenerator[JsonObject]:
        """Yield what llama.cpp streams; closing the iterator ends the generation."""
        if self._closed:
            raise self._ended_early()
        loop = asyncio.get_running_loop()
        chunks = _Chunks(loop)
        self._running.add(chunks)
        done = loop.run_in_executor(self._threads, self._generate, body, chunks)
        done.add_done_callback(chunks.end)
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
            if done.cancelled():
                raise self._ended_early()
            await done
        finally:
            self._running.discard(chunks)
            chunks.stop()
            done.cancel()

    def _generate(self, body: dict[str, Json], chunks: "_Chunks") -> None:
        """Run one completion, on a thread of its own."""
        server = self._loaded()
        if chunks.stopped:
            return
        try:
            server.handle_chat_completions(body, chunks.put)
        except (RuntimeError, TypeError, ValueError) as error:
            # what its parser throws, and what no JSON can express (a lone surrogate)
            raise BackendError(f"llama.cpp rejects the call: {error}", kind="bad_request") from None

    def _loaded(self) -> "_Server":
        with self._loading:
            if self._server is None:
                if self._closed:
                    raise self._ended_early()
                self._server = self._load()
            return self._server

    def _load(self) -> "_Server":
        xllamacpp = _xllamacpp()
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        if self._adapter is not None:
            adapter = xllamacpp.CommonAdapterLoraInfo()
            adapter.path, adapter.scale = str(self._adapter), 1.0
            params.lora_adapters = [adapter]
        params.n_ctx = self._context * self._parallel
        params.n_parallel = self._parallel
        params.n_batch = params.n_ubatch = max(_PROMPT_BATCH, self._parallel)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._compute_threads
        params.cache_ram_mib = _CACHE_MIB
        params.warmup = False
        params.fit_params = False  # the window is what the configuration says
        params.verbosity = -1  # the terminal is the user's
        # it always opens a port on the loopback device: nobody else may use the model through it
        params.api_keys = [self._key]
        params.n_threads_http = 1
        params.ui = False
        params.endpoint_slots = False
        try:
            server: _Server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise BackendError(
                f"llama.cpp cannot load {self._files()} ({error}); a file is damaged, or of a kind "
                "that this version does not know, or the adapter is for another model: get the "
                "file again, or a newer xllamacpp"
            ) from error
        return server

    def _files(self) -> str:
        return str(self._path) if self._adapter is None else f"{self._path} with {self._adapter}"

    def _release(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        with self._loading:
            self._server = None

    def _ended_early(self) -> BackendError:
        if self._closed:
            return BackendError(f"the local model {self._path.name} is closed")
        return BackendError("llama.cpp ended a reply before it was finished", kind="backend")


class _Server(Protocol):
    """The part of `xllamacpp.Server` that is used here."""

    @property
    def listening_address(self) -> str: ...

    def handle_chat_completions(self, prompt: dict[str, Json], callback: object) -> object: ...


class _Chunks:
    """Chunks of one reply, on their way from the thread that gets them to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stopped = False
        self._loop = loop
        self._queue: asyncio.Queue[Mapping[str, Json] | None] = asyncio.Queue()
        self._room = threading.Semaphore(_CHUNKS_AHEAD)

    def put(self, chunk: Mapping[str, Json]) -> bool:
        """Take a chunk, waiting while there is no room; return whether to stop generating."""
        self._room.acquire()
        if not self.stopped:
            try:
                self._loop.call_soon_threadsafe(self._queue.put_nowait, chunk)
            except RuntimeError:  # the loop is closed: nobody will read it
                self.stopped = True
        return self.stopped

    async def get(self) -> Mapping[str, Json] | None:
        """Return the next chunk; `None` after the last."""
        chunk = await self._queue.get()
        self._room.release()
        return chunk

    def end(self, done: object) -> None:
        """Mark the end; `done` is the finished future."""
        del done
        self._queue.put_nowait(None)

    def stop(self) -> None:
        """Have the generation end at its next chunk."""
        self.stopped = True
        self._room.release()


def _xllamacpp() -> Any:  # noqa: ANN401 - an optional module without annotations
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError(f"{_MISSING} ({error})") from error
    return xllamacpp


_MISSING = "a local model needs xllamacpp; run: pip install 'polyroute[local]'"
