"""What a running server shows of itself."""

from pydantic import Field

from polyroute.config.strict import Strict

__all__ = ["TracingSettings", "WatchSettings"]


class TracingSettings(Strict):
    """Spans for OpenTelemetry: one per episode, and one per call below it."""

    sample: float = Field(1.0, ge=0, le=1)
    """Share of the episodes that are traced, chosen when they begin. A client that sends a
    ``traceparent`` has chosen already."""
    endpoint: str | None = None
    """Where they go, over OTLP and HTTP: ``http://127.0.0.1:4318/v1/traces``; what the variables
    ``OTEL_EXPORTER_OTLP_*`` say when not given."""
    service: str = Field("polyroute", min_length=1)
    """Name of this service in them."""


class WatchSettings(Strict):
    """What `polyroute serve` shows of itself."""

    metrics: bool = True
    """Whether ``GET /metrics`` answers, for Prometheus."""
    page: bool = True
    """Whether there is a page at ``/ui``."""
    log: bool = False
    """Whether each request is logged, as a line of JSON without texts."""
    tracing: TracingSettings | None = None
    """Spans for OpenTelemetry; none are made when not given."""
    collapse: float = Field(0.9, gt=0, le=1)
    """Share of the calls of policies to one card at which routing counts as collapsed."""
