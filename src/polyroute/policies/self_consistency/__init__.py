"""Self-consistency (ACAR): three probes decide how many models are asked."""

from polyroute.answers import CANONICAL
from polyroute.policies.self_consistency.policy import SelfConsistency, sigma

__all__ = ["CANONICAL", "SelfConsistency", "sigma"]
