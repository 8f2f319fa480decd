"""A GGUF in process, through llama.cpp."""

from polyroute.backends.local.backend import Local

__all__ = ["Local"]
