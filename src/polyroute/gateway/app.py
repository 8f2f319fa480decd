"""The application: which path leads where, and what is opened and closed with the server."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyroute import __version__
from polyroute.backends.by_card import ByCard
from polyroute.balance.instances import InstanceState
from polyroute.config import Setup
from polyroute.gateway.access.budgets import Budgets
from polyroute.gateway.access.build import build_access
from polyroute.gateway.access.door import Door
from polyroute.gateway.asked import Reader
from polyroute.gateway.cache.build import build_cache
from polyroute.gateway.caller import Caller, caller_of
from polyroute.gateway.catalogue import Catalogue, policy_of
from polyroute.gateway.conversations import Conversations
from polyroute.gateway.embedders import Embedders
from polyroute.gateway.endpoint import Endpoint, Gateway
from polyroute.gateway.errors import ApiError, of_status
from polyroute.gateway.feedback import FeedbackEndpoint
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.learner import Learner
from polyroute.gateway.openapi import document
from polyroute.gateway.reload import PLACE
from polyroute.gateway.shapes.chat import Chat
from polyroute.gateway.shapes.completions import Completions
from polyroute.gateway.shapes.embeddings import Embeddings
from polyroute.gateway.shapes.messages import Messages
from polyroute.gateway.shapes.responses import Responses
from polyroute.gateway.watch.history import History
from polyroute.gateway.watch.watch import Watch
from polyroute.gateway.wire import encode, refuse
from polyroute.state.shared import Shared
from polyroute.types import Json, JsonObject

__all__ = ["HasInstances", "Lasting", "create_app"]


@runtime_checkable
class HasInstances(Protocol):
    """A backend that knows how its instances are."""

    def snapshot(self) -> tuple[InstanceState, ...]:
        """Return what is known of every instance."""
        ...

    async def watch(self) -> None:
        """Probe the instances until cancelled, if they are to be."""
        ...


@dataclass(frozen=True, slots=True)
class Lasting:
    """What outlives the application of one configuration; its user closes it."""

    keeper: Keeper
    state: Shared
    history: History | None = None
    """What was seen; every application begins anew when there is none."""

    async def close(self) -> None:
        """Write what waits, and release the stores."""
        await self.keeper.close()
        await self.state.close()


def create_app(
    setup: Setup, *, keys: Sequence[str] = (), lasting: Lasting | None = None
) -> ASGIApp:
    """Return the server of `setup` as an ASGI application.

    Parameters
    ----------
    setup : Setup
        What it serves. Its backends and its record store are closed when the server ends.
    keys : sequence of str, optional
        Clients' keys; without any, everybody is let in.
    lasting : Lasting, optional
        The stores of an application that this one follows, or that others will; they are then
        not closed with it.

    Raises
    ------
    ConfigError
        If a card of the pool has the name of a policy.
    """
    learner = Learner(setup)
    catalogue = Catalogue(setup, learner.newest if learner.learns else None)
    keeper = lasting.keeper if lasting else Keeper(setup.records, setup.settings.records.content)
    backend = ByCard(setup.backends, setup.first_token_s)
    server = setup.settings.server
    conversations = Conversations()
    access = build_access(setup.settings, setup.pool, keys, lasting.state if lasting else None)
    watch = Watch(setup, keeper, lasting.history if lasting else None)
    gateway = Gateway(
        reader=Reader(setup, catalogue),
        backend=backend,
        keeper=keeper,
        fallback=setup.settings.fallback,
        max_body_mb=server.max_body_mb,
        conversations=conversations,
        gate=access.gate,
        memory=build_cache(setup.settings, access.state, keeper),
        watchers=(
            *((learner,) if learner.learns else ()),
            *((watch,) if watch.watches else ()),
        ),
        listeners=watch.listeners,
    )
    chat = Endpoint(gateway, Chat(server.rounds))
    embedders = Embedders(setup)
    vectors = Endpoint(embedders.gateway(gateway), Embeddings(any=embedders.any))
    backends = {**setup.backends, **setup.embedders}
    instances = {id: each for id, each in backends.items() if isinstance(each, HasInstances)}
    keyless = access.ring is None
    pages = _Pages(setup, catalogue, keeper, embedders, instances, keyless=keyless)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        watch.begin()
        probing = [asyncio.create_task(each.watch()) for each in instances.values()]
        try:
            yield
        finally:
            for task in probing:
                task.cancel()
            await asyncio.gather(*probing, return_exceptions=True)
            await watch.close()
            await learner.close()
            await backend.close()
            await embedders.close()
            if lasting is None:
                await keeper.close()
                await access.state.close()

    stored = setup.records is not None and setup.settings.records.content == "full"
    episodes: dict[str, ASGIApp] = {
        "/v1/chat/completions": chat,
        "/v1/completions": Endpoint(gateway, Completions(server.rounds)),
        "/v1/embeddings": vectors,
        "/v1/messages": Endpoint(gateway, Messages(server.rounds)),
        "/v1/responses": Endpoint(gateway, Responses(server.rounds, keeper, stored=stored)),
        "/v1/route": Endpoint(gateway, Chat(server.rounds), dry_run=True),
    }
    pages_and_rest = Starlette(
        routes=[
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in episodes.items()),
            Route("/v1/feedback", FeedbackEndpoint(keeper, learner), methods=["POST"]),
            Route("/v1/budgets", Budgets(access.ring, access.state, audit=access.audit)),
            Route("/v1/models", pages.models),
            Route("/v1/models/{name:path}", pages.model),
            Route("/v1/traces/{id}", pages.trace),
            Route("/health", pages.health),
            Route("/openapi.json", pages.openapi),
            *watch.routes,
        ],
        exception_handlers={
            HTTPException: _http_error,
            ApiError: _api_error,
            Exception: _broken,
        },
        lifespan=lifespan,
    )
    pages_and_rest.router.redirect_slashes = False
    app = watch.around(_Dispatch(episodes, pages_and_rest))
    most = setup.settings.access.max_requests
    return Door(app, access.ring, most=most, audit=access.audit)


class _Dispatch:
    """Takes what is answered by an episode past the framework, whose layers would cost more."""

    def __init__(self, episodes: Mapping[str, ASGIApp], rest: ASGIApp) -> None:
        self._episodes = episodes
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._episodes.get(scope.get("path", ""))
        if endpoint is None or scope["type"] != "http" or scope["method"] != "POST":
            await self._rest(scope, receive, send)
            return
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await endpoint(scope, receive, note)
        except Exception:
            if not started:
                await refuse(send, _BROKEN)
            raise  # the server logs it


class _Pages:
    """What can be read."""

    def __init__(
        self,
        setup: Setup,
        catalogue: Catalogue,
        keeper: Keeper,
        embedders: Embedders,
        instances: Mapping[str, HasInstances],
        *,
        keyless: bool,
    ) -> None:
        self._instances = instances
        self._catalogue = catalogue
        self._embedders = embedders
        self._keeper = keeper
        self._digest = setup.pool.digest
        self._keyless = keyless

    async def models(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        listed = [*self._catalogue.models(), *self._embedders.models()]
        return _json({"object": "list", "data": [one for one in listed if _may_ask(caller, one)]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        entry = self._embedders.model(name) or self._catalogue.model(name)
        if not _may_ask(caller_of(request.scope), entry):
            message = f"there is no model {name!r:.80}; see GET /v1/models"
            raise ApiError(404, message, code="model_not_found", param="model")
        return _json(entry)

    async def trace(self, request: Request) -> Response:
        id = request.path_params["id"]
        record = await self._keeper.find(id)
        if record is None or not caller_of(request.scope).sees(record):
            why = "; this server keeps no records" if self._keeper.store is None else ""
            raise ApiError(404, f"there is no trace {id!r}{why}", code="trace_not_found")
        return _json(record.to_json())

    async def openapi(self, _: Request) -> Response:
        return _json(document())

    async def health(self, request: Request) -> Response:
        reloads = request.scope.get(PLACE)
        said: dict[str, Json] = {
            "status": "ok",
            "version": __version__,
            "pool": self._digest,
            "records_lost": self._keeper.lost,
        }
        if self._instances:
            # how many, and not which: anybody may ask
            said["instances"] = {
                id: {"fit": sum(one.state == "closed" for one in seen), "of": len(seen)}
                for id, seen in ((id, each.snapshot()) for id, each in self._instances.items())
            }
        if reloads is not None:
            said["configuration"] = reloads.to_json(why=self._keyless)
        return _json(said)


def _may_ask(caller: Caller, entry: JsonObject) -> bool:
    """Whether the key of `caller` may ask for a model that is listed."""
    policy = policy_of(entry["id"])
    return caller.may_ask("fixed", entry["id"]) if policy is None else caller.may_ask(policy)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path!r}; see GET /v1/models"
    elif error.status_code == 405:
        message = f"{request.url.path!r} does not take {request.method}"
    told = of_status(error.status_code, message)
    return _error(told, dict(error.headers or {}))


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _error(error, {})


async def _broken(_: Request, __: Exception) -> Response:
    return _error(_BROKEN, {})


_BROKEN = of_status(500, "the gateway broke; its log says where")


def _error(error: ApiError, headers: dict[str, str]) -> Response:
    return _json(error.body(), status=error.status, headers={**headers, **error.headers})


def _json(
    body: JsonObject, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(encode(body), status, headers, media_type="application/json")
