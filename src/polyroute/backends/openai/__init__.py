"""Any OpenAI-compatible endpoint over HTTP."""

from polyroute.backends.openai.backend import OpenAI, Probe
from polyroute.backends.openai.delivery import Hedge
from polyroute.backends.openai.instance import Instance

__all__ = ["Hedge", "Instance", "OpenAI", "Probe"]
