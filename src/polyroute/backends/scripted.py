"""A backend made of a function, for tests, simulators and examples. No network."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from polyroute.decision import Call
from polyroute.protocols import Delta, Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Usage

__all__ = ["Scripted"]


@dataclass(frozen=True, slots=True)
class Scripted:
    """Reply with ``say(model, prompt)``; a token is a word.

    Parameters
    ----------
    say : callable
        From model id and prompt to the reply's text. It may raise
        `polyroute.errors.BackendError`. A call's prefix stands at the end of the prompt.
    latency_s : callable, optional
        From model id to seconds to wait before the reply.

    Examples
    --------
    >>> from polyroute import Call, ModelCard, Pool, Request, Trace
    >>> backend = Scripted(lambda model, prompt: f"{model} heard {prompt}")
    >>> trace = Trace(Request.of("hello"), Pool([ModelCard(id="echo")]))
    >>> asyncio.run(backend.complete(Call("echo"), trace)).text
    'echo heard hello'
    """

    say: Callable[[str, str], str]
    latency_s: Callable[[str], float] | None = None

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the scripted reply, cut to the call's ``max_tokens`` words."""
        if self.latency_s is not None:
            await asyncio.sleep(self.latency_s(call.model))
        prompt = call.prompt if call.prompt is not None else trace.request.prompt
        prompt += call.prefix
        words = self.say(call.model, prompt).split(" ")
        limit = call.merged_params(trace.request).get("max_tokens")
        finish_reason = "stop" if limit is None or len(words) <= limit else "length"
        words = words[:limit]
        if emit is not None:
            for k, word in enumerate(words):
                await emit(Delta(word if k == 0 else f" {word}"))
        usage = Usage(input=len(prompt.split()), output=len(words))
        text = " ".join(words)
        return Reply(model=call.model, text=text, usage=usage, finish_reason=finish_reason)

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
