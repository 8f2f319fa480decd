"""Spans of episodes and calls."""

import asyncio

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the extra 'telemetry'")

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode

from polyroute.config import TracingSettings
from polyroute.gateway.watch.tracing import Remembers, Tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{}"


def spans_of(*accounts, sample=1.0, traceparent=None):
    """Return the spans of `accounts`, made inside a request with that header."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(TracingSettings(sample=sample), exporter)
    headers = [] if traceparent is None else [(b"traceparent", traceparent.encode())]

    async def app(scope, receive, send):
        for account in accounts:
            tracing.ended(account)

    asyncio.run(Remembers(app)({"type": "http", "headers": headers}, None, None))
    tracing._provider.force_flush()
    tracing.close()
    return exporter.get_finished_spans()


def test_an_episode_is_a_span_and_each_of_its_calls_one_below_it(done):
    *calls, episode = spans_of(done)
    assert episode.name == "invoke_workflow default"
    assert (episode.kind, episode.parent) == (SpanKind.INTERNAL, None)
    assert [span.name for span in calls] == ["chat small", "chat large", "chat down"]
    for span in calls:
        assert span.parent.span_id == episode.context.span_id
        assert span.kind is SpanKind.CLIENT
        assert span.start_time >= episode.start_time
    assert episode.start_time == 1_000 * 10**9
    assert episode.end_time - episode.start_time == 5 * 10**8


def test_attributes_are_those_of_the_conventions_or_our_own(done):
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    known |= {"error.type", "server.address"}
    for span in spans_of(done):
        for name in span.attributes:
            assert name in known or name.startswith("polyroute."), name


def test_a_call_says_its_tokens_and_the_episode_its_dollars(done):
    *calls, episode = spans_of(done)
    usage = done.called[1].reply.usage
    assert calls[1].attributes["gen_ai.usage.input_tokens"] == usage.prompt
    assert calls[1].attributes["gen_ai.usage.output_tokens"] == usage.completion
    assert episode.attributes["polyroute.usd"] == float(done.usd)
    assert calls[0].attributes["polyroute.own"] is True
    assert calls[1].attributes["polyroute.propensity"] == 0.25


def test_a_failed_call_is_an_error_of_its_kind(made):
    *calls, episode = spans_of(made.finish(made.ask("polyroute/to-down")))
    assert calls[0].status.status_code is StatusCode.ERROR
    assert calls[0].attributes["error.type"] == "unavailable"
    assert episode.status.status_code is StatusCode.ERROR
    assert episode.attributes["error.type"] == "upstream_unavailable"


def test_no_text_gets_into_a_span(done, made):
    for span in spans_of(done):
        assert made.secret not in span.to_json()
        assert "says two" not in span.to_json()


def test_the_episode_is_below_the_span_of_the_client(done):
    episode = spans_of(done, sample=0.0, traceparent=PARENT.format("01"))[-1]
    assert f"{episode.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{episode.parent.span_id:016x}" == "b7ad6b7169203331"


def test_a_client_that_does_not_sample_is_not_sampled(done):
    assert spans_of(done, traceparent=PARENT.format("00")) == ()


def test_what_is_not_sampled_makes_no_span(done):
    assert spans_of(done, done, done, sample=0.0) == ()


def test_a_damaged_traceparent_begins_a_trace_of_its_own(done):
    assert spans_of(done, traceparent="00-zz-\x7f")[-1].parent is None
