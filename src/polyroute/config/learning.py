"""How bandits learn from feedback while the server runs."""

from pydantic import Field

from polyroute.config.strict import Strict

__all__ = ["LearningSettings"]


class LearningSettings(Strict):
    """How policies that learn do so while `polyroute serve` runs."""

    on: bool = True
    """Whether `POST /v1/feedback` teaches the policy that decided; it is kept in any case."""
    forgetting: float = Field(1.0, gt=0, le=1)
    """What older rewards are multiplied by at each new one: 0.99 remembers about the last 100."""
    drift: float | None = Field(15.0, gt=0)
    """Sum of prediction errors at which a model counts as changed; null: nobody watches."""
    tolerance: float = Field(0.05, ge=0)
    """Changes of a model's mean reward up to this are let pass."""
    keep: float = Field(0.05, ge=0, le=1)
    """Share of what is known of a model that is kept when it has changed."""
