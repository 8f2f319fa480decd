"""A language model that routes over several rounds: think, ask, read, answer."""

from polyroute.policies.router_r1.grammar import Dialect, Search, Turn, grammar, read_turn
from polyroute.policies.router_r1.policy import RouterR1
from polyroute.policies.router_r1.prompt import Layout
from polyroute.policies.router_r1.turns import Span, prompt_of, said, transcript, turns

__all__ = [
    "RouterR1",
    # what it is configured with
    "Dialect", "Layout",
    # what the router model writes
    "Search", "Turn", "grammar", "read_turn",
    # what training and rewards read off a trace
    "Span", "prompt_of", "said", "transcript", "turns",
]  # fmt: skip
