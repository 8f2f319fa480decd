"""OpenAI's ``/v1/responses``, in both directions."""

from polyroute.gateway.shapes.responses.fields import SCHEMA
from polyroute.gateway.shapes.responses.shape import Responses

__all__ = ["SCHEMA", "Responses"]
