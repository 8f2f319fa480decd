"""Spans for OpenTelemetry: one per episode, and one per call below it.

The one decision here: spans are made when an episode is over, with the times it had, so that an
episode that is not sampled costs one comparison. Whether it is sampled is known before it begins:
by the client's ``traceparent``, or by the trace id alone.

References
----------
OpenTelemetry, semantic conventions for generative AI: the attributes ``gen_ai.*``; those of routing
are our own, ``polyroute.*``. https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from collections.abc import Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from polyroute.config import TracingSettings
from polyroute.decision import Answer, Route
from polyroute.errors import MissingExtraError
from polyroute.gateway.watch.account import Account
from polyroute.pool import ModelCard
from polyroute.trace import Reply, Step, Trace

try:
    from opentelemetry import trace as telemetry
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"watch.tracing needs the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[telemetry]'"
    ) from error

__all__ = ["Remembers", "Tracing", "exporter"]

_parent: ContextVar[Mapping[str, str] | None] = ContextVar("polyroute_parent", default=None)

_HEADERS = {b"traceparent": "traceparent", b"tracestate": "tracestate"}

_A_SECOND = 1_000_000_000

_OPERATIONS = {
    "model": "chat", "agent": "invoke_agent", "tool": "execute_tool", "router": "chat",
}  # fmt: skip
"""What a call to each kind of candidate is."""


def exporter(settings: TracingSettings) -> SpanExporter:
    """Return what sends spans to where `settings` say.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    try:
        otlp = import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"watch.tracing needs the package {error.name!r}, which is not installed; run: "
            "pip install 'polyroute[telemetry]'"
        ) from error
    sends: SpanExporter = otlp.OTLPSpanExporter(endpoint=settings.endpoint)
    return sends


class Remembers:
    """Remembers the ``traceparent`` of each request while it is answered.

    Parameters
    ----------
    app : ASGI application
        What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            told = {
                _HEADERS[name]: value.decode("latin-1")
                for name, value in scope["headers"]
                if name in _HEADERS
            }
            _parent.set(told or None)
        await self._app(scope, receive, send)


class Tracing:
    """Makes the spans of one server.

    Parameters
    ----------
    settings : TracingSettings
        The share of episodes, and the name of the service.
    exporter : SpanExporter
        Where spans go, in batches, from a thread of their own.
    """

    def __init__(self, settings: TracingSettings, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample)),
            resource=Resource.create({"service.name": settings.service}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("polyroute")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, account: Account) -> None:
        """Make the spans of a request."""
        carrier = _parent.get()
        context = None if carrier is None else self._propagator.extract(dict(carrier))
        began = round(account.began * _A_SECOND)
        span = self._tracer.start_span(
            f"invoke_workflow {account.policy}",
            context=context,
            kind=telemetry.SpanKind.INTERNAL,
            attributes=_of_episode(account),
            start_time=began,
        )
        if span.is_recording():
            if account.ending != "answered":
                span.set_status(telemetry.Status(telemetry.StatusCode.ERROR))
            self._calls(telemetry.set_span_in_context(span), account.traces, began)
        span.end(began + round(account.seconds * _A_SECOND))

    def close(self) -> None:
        """Send what waits. It blocks: not on the event loop."""
        self._provider.shutdown()

    def _calls(self, context: Any, traces: tuple[Trace, ...], began: int) -> None:  # noqa: ANN401
        offset = 0.0
        for trace in traces:
            for k, step in enumerate(trace.steps):
                if isinstance(step.decision, Route):
                    longest = max((reply.seconds for reply in step.replies), default=0.0)
                    first = offset + max(0.0, step.seconds - longest)
                    self._step(context, trace, step, k, began + round(first * _A_SECOND))
            offset += trace.seconds

    def _step(self, context: Any, trace: Trace, step: Step, k: int, start: int) -> None:  # noqa: ANN401
        assert isinstance(step.decision, Route), "an answer calls nobody"
        for call, reply in zip(step.decision.calls, step.replies, strict=True):
            card = trace.pool.card(call.model)
            operation = _OPERATIONS[card.kind]
            about = {
                **_of_call(card, operation, reply),
                "polyroute.step": k,
                "polyroute.own": step.decision.own,
                "polyroute.final": step.decision.final,
            }
            if step.decision.propensity is not None:
                about["polyroute.propensity"] = step.decision.propensity
            span = self._tracer.start_span(
                f"{operation} {card.id}",
                context=context,
                kind=telemetry.SpanKind.CLIENT,
                attributes=about,
                start_time=start,
            )
            if reply.failure is not None:
                span.set_status(telemetry.Status(telemetry.StatusCode.ERROR, reply.failure.kind))
            span.end(start + round(reply.seconds * _A_SECOND))


def _of_episode(account: Account) -> dict[str, Any]:
    conversation = account.asked.request.conversation
    about: dict[str, Any] = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": account.policy,
        "polyroute.trace_id": account.id,
        "polyroute.ending": account.ending,
        "polyroute.rounds": account.rounds,
        "polyroute.usd": float(account.usd),
        "polyroute.unknown_prices": account.unknown,
        "polyroute.remembered": account.remembered,
        "polyroute.key": account.caller.id,
        "polyroute.tenant": account.caller.tenant,
    }
    if conversation is not None and conversation.id is not None:
        about["gen_ai.conversation.id"] = conversation.id
    outcome = account.outcome
    if outcome is not None and outcome.error is not None:
        about["error.type"] = outcome.error.code or outcome.error.type
    if outcome is not None and outcome.fallback is not None:
        about["polyroute.fallback"] = outcome.fallback.card
    last = outcome.trace.steps[-1].decision if outcome is not None and outcome.trace.steps else None
    if isinstance(last, Answer) and last.failure is not None:
        about["polyroute.failure"] = last.failure.kind
    return about


def _of_call(card: ModelCard, operation: str, reply: Reply) -> dict[str, Any]:
    about: dict[str, Any] = {"gen_ai.operation.name": operation}
    if operation == "execute_tool":
        about["gen_ai.tool.name"] = card.id
    elif operation == "invoke_agent":
        about["gen_ai.agent.name"] = card.id
    else:
        about |= {"gen_ai.request.model": card.id, "gen_ai.provider.name": "polyroute"}
        about["gen_ai.response.model"] = reply.answered_by or card.id
    if (usage := reply.usage) is not None:
        about["gen_ai.usage.input_tokens"] = usage.prompt
        about["gen_ai.usage.output_tokens"] = usage.completion
        about["gen_ai.usage.cache_read.input_tokens"] = usage.cached
        about["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
    if reply.finish_reason is not None:
        about["gen_ai.response.finish_reasons"] = (reply.finish_reason,)
    if reply.first_token_s is not None:
        about["gen_ai.response.time_to_first_chunk"] = reply.first_token_s
    if reply.instance is not None:
        about["server.address"] = reply.instance
    if reply.region is not None:
        about["cloud.region"] = reply.region
    if reply.usd is not None:
        about["polyroute.usd"] = float(reply.usd)
    if reply.failure is not None:
        about["error.type"] = reply.failure.kind
    return about | {"polyroute.attempts": reply.attempts}
