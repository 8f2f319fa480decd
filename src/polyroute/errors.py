"""Everything this package raises.

* PolyrouteError
  x ConfigError (also ValueError)          the user wrote something we cannot use
    + UnknownModelError (also KeyError)    a name that is not in the pool
    + UnknownPluginError (also KeyError)   a policy, backend or tool nobody registered
    + MissingExtraError (also ImportError) an optional dependency that is not installed
    + ArtifactError                        a trained router that is damaged or does not fit
  x NotFittedError (also ValueError)       predict before fit
  x PolicyError (also RuntimeError)        a policy raised, or decided something illegal
  x BackendError (also RuntimeError)       a call failed; becomes `Reply.failure`
    + UpstreamTimeoutError (also TimeoutError)
    + RateLimitError
    + RefusalError                         the candidate says the question is not for it
  x RecordError (also ValueError)          a stored trace cannot be read or written
  x StateError (also RuntimeError)         what processes share cannot be reached

Policies and rewards raise plain Python errors; the loop attributes them to
`PolicyError`, so that a trace always says which side of the boundary broke.
"""

from typing import ClassVar, Literal, TypeAlias

from polyroute.redaction import redact

__all__ = [
    "PolyrouteError",
    # what the user wrote
    "ArtifactError", "ConfigError", "MissingExtraError", "UnknownModelError", "UnknownPluginError",
    # what ran
    "BackendError", "FailureKind", "NotFittedError", "PolicyError", "RateLimitError",
    "RefusalError", "UpstreamTimeoutError", "let_go",
    # what was stored
    "RecordError", "StateError",
]  # fmt: skip

FailureKind: TypeAlias = Literal[
    "auth",  # the upstream did not accept our key
    "backend",  # the backend itself broke: a bug, not an upstream error
    "bad_request",  # the upstream rejected the call as it stands
    "budget",  # not made: its worst case does not fit into what is left
    "cancelled",  # the episode was cancelled while the call was running
    "context",  # the prompt does not fit into the context window
    "invalid_reply",  # the upstream said something that is not a completion
    "rate_limit",  # the upstream has had too many calls
    "refusal",  # the candidate says the question is not for it
    "timeout",  # no reply in time
    "unavailable",  # connection refused, cut, or a 5xx
]
"""Why a call has no reply. Closed: metrics and policies may branch on it."""


class PolyrouteError(Exception):
    """Base class of every error raised on purpose by this package."""

    def __str__(self) -> str:
        """Return the message as written (`KeyError` would quote it)."""
        return Exception.__str__(self)


class ConfigError(PolyrouteError, ValueError):
    """A configuration value is missing or cannot be used."""


class UnknownModelError(ConfigError, KeyError):
    """A name that the pool does not hold; the message lists the near ones."""


class UnknownPluginError(ConfigError, KeyError):
    """A plug-in name that no installed distribution registers."""


class MissingExtraError(ConfigError, ImportError):
    """An optional dependency is not installed; the message has the command that installs it."""


class ArtifactError(ConfigError):
    """A trained router on disk is damaged, of an unknown version, or not for this pool."""


class NotFittedError(PolyrouteError, ValueError):
    """An estimator was asked to predict before `fit`."""


class PolicyError(PolyrouteError, RuntimeError):
    """A policy raised, or returned a decision that the pool cannot carry out."""


class BackendError(PolyrouteError, RuntimeError):
    """A call failed.

    Parameters
    ----------
    message : str
        What happened, for a person; never a prompt. What looks like a key is hidden.
    kind : FailureKind, optional
        What a policy may branch on; the class's own kind by default.
    status : int, optional
        The HTTP status of the upstream, where there was one.
    retry_after_s : float, optional
        Seconds after which the upstream asked to be called again.
    billed : bool, default=False
        Whether the failed call may be on the upstream's bill. Its usage is then unknown, so its
        price is unknown too, and its worst case stays reserved in the budget.

    Attributes
    ----------
    instance, region : str or None
        Where several places could be asked: the one that failed.
    attempts : int
        How often the call had been sent by then.
    """

    kind: ClassVar[FailureKind] = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        billed: bool = False,
    ) -> None:
        super().__init__(redact(message))
        self.failure_kind: FailureKind = kind or type(self).kind
        self.status = status
        self.retry_after_s = retry_after_s
        self.billed = billed
        self.instance: str | None = None
        self.region: str | None = None
        self.attempts = 1


class UpstreamTimeoutError(BackendError, TimeoutError):
    """The upstream did not answer within its time limit."""

    kind = "timeout"


class RateLimitError(BackendError):
    """The upstream refused the call because of its rate limit."""

    kind = "rate_limit"


class RefusalError(BackendError):
    """The candidate says that this question is not for it."""

    kind = "refusal"


class RecordError(PolyrouteError, ValueError):
    """A stored trace cannot be read or written."""


class StateError(PolyrouteError, RuntimeError):
    """What several processes share (limits, budgets, a cache) cannot be reached now."""


def let_go(error: BaseException | None) -> None:
    """Forget where `error`, and what it came of, came through.

    Who keeps an error holds the frames that it came through, and often is held by them: without
    this, everything of a failed call stays until the collector of cycles comes by.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
