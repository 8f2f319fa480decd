"""Anthropic's ``/v1/messages``, in both directions."""

from polyroute.gateway.shapes.messages.shape import Messages

__all__ = ["Messages"]
