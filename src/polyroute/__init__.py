"""Learn, evaluate and serve routers for pools of language models, agents and tools.

Every router is a policy on the same loop (`run_episode`): it sees the trace so far, and asks
candidates of the pool or answers.
"""

import logging

from polyroute.decision import Answer, Call, Decision, Failure, Route
from polyroute.episode import run_episode, stream_episode
from polyroute.errors import PolyrouteError
from polyroute.pool import ModelCard, Pool, Price
from polyroute.protocols import Backend, Estimator, Method, Policy, Reward
from polyroute.trace import Reply, Step, Trace
from polyroute.types import Budget, Message, Request, Usage

__all__ = [
    # what goes in
    "Budget", "Message", "Request", "Usage",
    # what can be chosen
    "ModelCard", "Pool", "Price",
    # what a policy returns
    "Answer", "Call", "Decision", "Failure", "Route",
    # what happened
    "Reply", "Step", "Trace",
    # what can be plugged in
    "Backend", "Estimator", "Method", "Policy", "Reward",
    # the loop
    "run_episode", "stream_episode",
    "PolyrouteError",
]  # fmt: skip

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())
