"""Anthropic's ``/v1/messages``, in both directions."""

from polyroute.gateway.shapes.messages.fields import SCHEMA
from polyroute.gateway.shapes.messages.shape import Messages

__all__ = ["SCHEMA", "Messages"]
