"""What a client is told when there is no answer: OpenAI's shape, and one table of statuses.

The one decision here: the status says *whose* fault it is. What the request cannot have is 4xx;
what our upstreams, our keys or our policies did is 5xx, also where the upstream said 4xx to us.
The official OpenAI client turns each status into a class of its own, and repeats 429 and 5xx by
itself unless ``x-should-retry: false`` says that nothing would change.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from polyroute.decision import Failure
from polyroute.errors import FailureKind
from polyroute.redaction import redact
from polyroute.types import Json, JsonObject

__all__ = [
    # what is raised
    "ApiError", "InvalidError", "TooLargeError",
    # what it is made from
    "broken_policy", "failed", "of_status",
    # all of them
    "STATUSES",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Told:
    """How one kind of failure is told."""

    status: int
    type: str
    code: str
    retry: bool | None = None
    """`False`: the client is asked not to repeat it; `None`: it decides by the status."""


_TOLD: Mapping[FailureKind, _Told] = {
    # the request cannot have an answer as it stands
    "bad_request": _Told(400, "invalid_request_error", "upstream_bad_request"),
    "context": _Told(400, "invalid_request_error", "context_length_exceeded"),
    "budget": _Told(400, "invalid_request_error", "budget_exceeded"),
    "refusal": _Told(422, "invalid_request_error", "refusal"),
    "rate_limit": _Told(429, "rate_limit_error", "rate_limit_exceeded"),
    # what stands behind the gateway did not deliver
    "auth": _Told(502, "upstream_error", "upstream_auth", retry=False),
    "unavailable": _Told(502, "upstream_error", "upstream_unavailable"),
    "invalid_reply": _Told(502, "upstream_error", "upstream_invalid_reply"),
    "timeout": _Told(504, "upstream_error", "upstream_timeout"),
    # ours
    "backend": _Told(500, "server_error", "backend_error", retry=False),
    "cancelled": _Told(499, "invalid_request_error", "cancelled"),
}
"""Every kind of failure of `polyroute.errors.FailureKind`. Budget is 400 and not 402 because 402
asks for a payment, and no payment would help: the limit is the request's or the operator's own."""

_OTHER: Mapping[int, _Told] = {
    401: _Told(401, "authentication_error", "invalid_api_key"),
    404: _Told(404, "invalid_request_error", "not_found"),
    405: _Told(405, "invalid_request_error", "method_not_allowed"),
}
"""Errors that are no failure of a call."""


STATUSES = tuple(
    sorted({told.status for told in (*_TOLD.values(), *_OTHER.values())} | {403, 413, 503})
)
"""Every status of an error; 499 is told to nobody, since its client has gone."""


class ApiError(Exception):
    """A request gets this instead of an answer.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        For a person: what was wrong, what was expected.
    type, code : str
        For a program.
    param : str, optional
        The field of the request that is wrong: ``messages[2].content``.
    headers : mapping, optional
        Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = redact(message)
        super().__init__(self.message)
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self, report: JsonObject | None = None) -> dict[str, Json]:
        """Return the body; `report` is what the ``polyroute`` field says of the episode."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error, **({} if report is None else {"polyroute": report})}


class InvalidError(ApiError):
    """A request that cannot be read, or not be carried out as it stands; `param` is the field."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(400, message, param=param)


class TooLargeError(ApiError):
    """A body beyond the limit of `limit_mb` megabytes."""

    def __init__(self, limit_mb: int) -> None:
        message = f"the body is longer than {limit_mb} MB, the limit set by server.max_body_mb"
        super().__init__(413, message, code="request_too_large")


def failed(failure: Failure) -> ApiError:
    """Return the error of an episode that ended without an answer.

    Examples
    --------
    >>> failed(Failure("rate_limit", "slow down", retry_after_s=1.2)).headers
    {'retry-after': '2'}
    """
    told = _TOLD[failure.kind]
    headers = {} if told.retry is None else {"x-should-retry": str(told.retry).lower()}
    if failure.retry_after_s is not None and told.status == HTTPStatus.TOO_MANY_REQUESTS:
        headers["retry-after"] = str(max(0, math.ceil(failure.retry_after_s)))
    return ApiError(told.status, failure.message, type=told.type, code=told.code, headers=headers)


def broken_policy(message: str) -> ApiError:
    """Return the error of a policy that broke where no fallback is declared."""
    headers = {"x-should-retry": "false"}
    return ApiError(500, message, type="server_error", code="policy_error", headers=headers)


def of_status(status: int, message: str) -> ApiError:
    """Return the error of a plain HTTP status.

    Examples
    --------
    >>> of_status(404, "no such page").code
    'not_found'
    """
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    told = _OTHER.get(status, _Told(status, kind, HTTPStatus(status).name.lower()))
    headers = {"www-authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    return ApiError(told.status, message, type=told.type, code=told.code, headers=headers)
