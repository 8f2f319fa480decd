"""Any OpenAI-compatible chat completions endpoint, over HTTP.

The one decision here: a call is sent again only when the upstream cannot have billed it (a 429, a
5xx, a connection that was never made) and the wait fits into the time that is left. From the
moment a request is on its way, a silence or a cut is the caller's to know, not ours to hide: it is
sent besides that only when the caller has reserved for it, and the reply shows both.
"""

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

from polyroute.backends.chat_completion import parse
from polyroute.backends.openai import plain
from polyroute.backends.openai.delivery import Delivery, Hedge, Hedging, Upstreams
from polyroute.backends.openai.exchange import read_body, refusal
from polyroute.backends.openai.form import CHAT, Form
from polyroute.backends.openai.instance import Instance
from polyroute.backends.openai.transport import (
    Address,
    ConnectTimeoutError,
    Transport,
    TransportError,
    TransportName,
    in_words,
)
from polyroute.balance.health import Health
from polyroute.balance.instances import Instances, InstanceState
from polyroute.balance.round_robin import RoundRobin
from polyroute.decision import Call
from polyroute.errors import BackendError, ConfigError
from polyroute.protocols import Balancer, Emit, Reserve
from polyroute.trace import Reply, Trace
from polyroute.types import JsonObject

__all__ = ["OpenAI", "Probe"]

_LONGEST_WAIT_S = 30.0
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 8.0
_PROBE_S = 10.0
_KEEP_ALIVE_S = 4.0
"""Less than the 5 s after which common servers close an idle connection: closing it first is
safe, while a request that meets their closing cannot be sent again (it may have been billed)."""

_OVER_AIOHTTP = "polyroute.backends.openai.over_aiohttp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one instance said when it was asked for its models."""

    instance: str
    ok: bool
    message: str = ""
    """What is wrong, or worth knowing; empty when there is nothing to say."""
    seconds: float = 0.0
    models: tuple[str, ...] = ()
    """Names the upstream advertises."""


class OpenAI:
    """Ask one model through its instances.

    Parameters
    ----------
    instances : tuple of Instance
        Where the model is served; at least one.
    retries : int, default=2
        How often a call may be sent again. A failed attempt goes on to the next instance at once;
        an instance that has failed already is given time first: what its ``Retry-After`` says (at
        most 30 s), and a backoff of half a second, doubled each time, with jitter.
    transport : {"auto", "aiohttp", "plain"}, default="auto"
        What carries requests: ``aiohttp`` everywhere, ``plain`` (this package's own client, for a
        third of the CPU) over HTTP without TLS. ``auto`` is ``plain`` where that can be.
    balance : Balancer, optional
        Chooses the instance of each call, by name: ``round_robin`` (the default), ``weighted``,
        ``least_outstanding``, ``power_of_two``, ``prefix_hash``, ``latency_aware``, ``nearby``.
    health : Health, optional
        When an instance is taken out, and how it comes back.
    hedge : Hedge, optional
        When a second instance is asked besides a slow one; never by default.

    Raises
    ------
    ConfigError
        If there is no instance, `retries` is negative, or an instance with TLS is to be asked by
        ``plain``.
    MissingExtraError
        If ``plain`` is asked for, and `httptools` is not installed.

    Notes
    -----
    `Reply.attempts` counts every attempt, those that found no connection too. An instance serves
    one event loop between its first call and `close`.

    Examples
    --------
    >>> OpenAI(instances=(Instance(url="http://127.0.0.1:8000/v1", model="small"),))
    OpenAI(Instance('127.0.0.1:8000/v1', model='small', key_env=None))
    """

    _form: ClassVar[Form] = CHAT

    def __init__(
        self,
        *,
        instances: tuple[Instance, ...],
        retries: int = 2,
        transport: TransportName = "auto",
        balance: Balancer | None = None,
        health: Health | None = None,
        hedge: Hedge | None = None,
    ) -> None:
        if not instances:
            raise ConfigError("a backend over HTTP needs one instance or more, got none")
        if retries < 0:
            raise ConfigError(f"retries must be 0 or more, got {retries!r}")
        self._configured = tuple(instances)
        self._health = Health() if health is None else health
        names = [(each.label, each.weight, each.region) for each in self._configured]
        balancer = RoundRobin() if balance is None else balance
        self._instances = Instances(balancer, names, health=self._health)
        self._names = tuple(_transport_of(each, transport) for each in self._configured)
        self._clients = {name: _client(name) for name in set(self._names)}
        self._transports: dict[TransportName, Transport] = {}
        self._addresses: dict[int, tuple[str | None, Address]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sleep = asyncio.sleep
        self._random = random.random
        self._upstreams = Upstreams(
            form=self._form,
            configured=self._configured,
            instances=self._instances,
            retries=retries,
            hedging=None if hedge is None else Hedging(hedge, self._instances),
            address=self._address,
            transport=self._transport,
            wait=self._wait,
            sleep=lambda seconds: self._sleep(seconds),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._configured))})"

    def missing_keys(self) -> tuple[str, ...]:
        """Names of the environment variables that should hold a key and hold none."""
        names = [i.key_env for i in self._configured if i.key_env is not None]
        return tuple(name for name in dict.fromkeys(names) if not os.environ.get(name, "").strip())

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Send `call` to an instance, and to another where that is safe.

        Raises
        ------
        BackendError
            If there is no reply. A stream that breaks after its first piece is a reply with the
            text so far, a `failure`, and unknown usage.
        """
        return await self.complete_or_resend(call, trace, emit, _never)

    def complete_or_resend(
        self, call: Call, trace: Trace, emit: Emit | None, reserve: Reserve
    ) -> Coroutine[None, None, Reply]:
        """Send `call`, besides that once more where `reserve` allows it: see `Resends`.

        That is, a hedge, or when a connection was cut before anything was streamed.

        Raises
        ------
        BackendError
            As `complete` does.
        """
        start = asyncio.get_running_loop().time()
        delivery = Delivery(
            up=self._upstreams, call=call, trace=trace, emit=emit, reserve=reserve, start=start
        )
        return delivery.run()

    def snapshot(self) -> tuple[InstanceState, ...]:
        """Return what is known of every instance, in order."""
        return self._instances.snapshot()

    async def watch(self) -> None:
        """Probe all instances again and again, until cancelled; at once when none are to be."""
        while self._health.probe_s is not None:
            for place, found in enumerate(await self.probe()):
                self._instances.probed(place, ok=found.ok, why=found.message)
            await asyncio.sleep(self._health.probe_s)

    async def probe(self) -> tuple[Probe, ...]:
        """Ask every instance for its models (``GET {url}/models``), all at once.

        Returns
        -------
        tuple of Probe
            One per instance, in order; what goes wrong is in its `message`.
        """
        return tuple(await asyncio.gather(*map(self._probe, range(len(self._configured)))))

    async def close(self) -> None:
        """Close all connections. The next call makes new ones."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.close()

    async def _wait(self, error: BackendError, attempt: int, left: float) -> None:
        """Wait until an instance that failed may be asked again; raise its error if we cannot."""
        backoff = min(_FIRST_BACKOFF_S * 2 ** (attempt - 2), _LONGEST_BACKOFF_S)
        asked = error.retry_after_s or 0.0
        pause = asked + backoff * (0.5 + self._random() / 2)
        if asked > _LONGEST_WAIT_S or pause >= left:
            raise error
        await self._sleep(pause)

    async def _probe(self, place: int) -> Probe:
        instance = self._configured[place]
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            async with asyncio.timeout(_PROBE_S):
                models = await self._models(place)
        except ConnectTimeoutError:
            said = f"no connection within {instance.connect_s:g} s"
        except TimeoutError:
            said = f"no list of models within {_PROBE_S:g} s"
        except (BackendError, TransportError) as error:
            said = str(error)
        except OSError as error:
            said = in_words(error)
        else:
            is_listed = instance.model is None or instance.model in models
            note = "" if is_listed else f"its list of models lacks {instance.model!r}"
            return Probe(
                instance=instance.label,
                ok=True,
                message=note,
                seconds=loop.time() - start,
                models=models,
            )
        message = instance.secrets().hide(said)
        seconds = loop.time() - start
        return Probe(instance=instance.label, ok=False, message=message, seconds=seconds)

    async def _models(self, place: int) -> tuple[str, ...]:
        instance = self._configured[place]
        address = Address(
            instance.endpoint("models"), instance.request_headers(), instance.connect_s
        )
        answer = await self._transport(place).send("GET", address)
        try:
            if not 200 <= answer.status < 300:
                raise await refusal(answer)
            return _model_names(parse(await read_body(answer)))
        finally:
            answer.release()

    def _address(self, place: int) -> Address:
        """Return where calls to an instance go; it is made anew when the key has changed."""
        instance = self._configured[place]
        key = None if instance.key_env is None else instance.key()
        known = self._addresses.get(place)
        if known is None or known[0] != key:
            url = instance.endpoint(self._form.path(instance))
            address = Address(url, instance.request_headers(), instance.connect_s)
            known = self._addresses[place] = (key, address)
        return known[1]

    def _transport(self, place: int) -> Transport:
        """Return the transport of an instance on this event loop; make it on the first call."""
        loop = asyncio.get_running_loop()
        if not self._transports:
            self._loop = loop
        if self._loop is not loop:
            raise BackendError(
                "this backend holds connections of another event loop; close() it there before "
                "it is used here, or make one backend per event loop",
                kind="backend",
            )
        name = self._names[place]
        if name not in self._transports:
            self._transports[name] = self._clients[name](keep_alive_s=_KEEP_ALIVE_S)
        return self._transports[name]


def _transport_of(instance: Instance, asked: TransportName) -> TransportName:
    is_plain = instance.url.startswith("http://")
    if asked == "plain":
        plain.check()
        if not is_plain:
            raise ConfigError(
                f"the transport 'plain' is for http:// only, and the instance {instance.label!r} "
                "is not; leave the transport out, or set it to aiohttp"
            )
    if asked == "auto":
        return "plain" if is_plain and plain.can_be_used() else "aiohttp"
    return asked


def _client(name: TransportName) -> Callable[..., Transport]:
    if name == "plain":
        return plain.Plain
    # only who uses it pays for aiohttp, an eighth of a server's memory
    made: Callable[..., Transport] = import_module(_OVER_AIOHTTP).OverAiohttp
    return made


def _never() -> bool:
    return False


def _model_names(wire: JsonObject) -> tuple[str, ...]:
    listed = wire.get("data")
    if not isinstance(listed, list):
        raise BackendError(
            "its answer to GET /models is no list; is this the base URL of an OpenAI-compatible "
            "API (most end in /v1)?",
            kind="invalid_reply",
        )
    return tuple(str(m["id"]) for m in listed if isinstance(m, dict) and "id" in m)
