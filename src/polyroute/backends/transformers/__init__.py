"""A Hugging Face causal language model in this process, exact to the token."""

from polyroute.backends.transformers.backend import Transformers
from polyroute.backends.transformers.load import Loaded, dequantised
from polyroute.backends.transformers.session import Tokens

__all__ = ["Loaded", "Tokens", "Transformers", "dequantised"]
