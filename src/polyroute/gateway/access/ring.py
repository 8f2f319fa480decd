"""The keys that a running server knows: found by hash, and read again when their file changes."""

import hmac
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import Scope as AsgiScope

from polyroute.errors import ConfigError, UnknownModelError
from polyroute.gateway.access.keys import SCOPES, AccessKey, KeyFile, Scope, digest
from polyroute.gateway.caller import Caller
from polyroute.gateway.errors import ApiError, of_status
from polyroute.pool import Pool

__all__ = ["KeyRing", "simple_key"]

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often it is seen whether the file has changed."""

_NOBODY = bytes(32)
"""Compared with when no key begins like the one sent, so that this takes the same time."""

_NEEDED = "a valid key is needed: send 'Authorization: Bearer <key>'"


@dataclass(frozen=True, slots=True)
class _Known:
    key: AccessKey
    digest: bytes
    caller: Caller
    for_ever: bool
    """Whether it is valid, and never expires."""


def simple_key(key: str, *, admin: bool = False) -> AccessKey:
    """Return what a key from an environment variable allows: all but administration, or all."""
    sha256 = digest(key.encode()).hex()
    scopes: Iterable[Scope] = SCOPES if admin else [scope for scope in SCOPES if scope != "admin"]
    return AccessKey(
        id=sha256[:12],
        sha256=sha256,
        name="admin" if admin else "environment",
        scopes=frozenset(scopes),
        created_at=datetime.now(UTC),
    )


class KeyRing:
    """Knows the keys of one server.

    Parameters
    ----------
    keys : sequence of AccessKey
        Keys that stay the same as long as the server runs.
    file : KeyFile, optional
        Further keys; a change of the file holds within a second, without a restart.
    pool : Pool, optional
        Whose cards the keys speak of.
    clock : callable, optional
        Returns the seconds since 1970.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """

    def __init__(
        self,
        keys: Sequence[AccessKey] = (),
        *,
        file: KeyFile | None = None,
        pool: Pool | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = tuple(keys)
        self._file = file
        self._pool = pool
        self._clock = clock
        self._looked = 0.0
        self._seen: tuple[int, ...] | None = None
        self._by_start: dict[bytes, tuple[_Known, ...]] = {}
        self._by_id: dict[str, AccessKey] = {}
        self._learn(self._fixed + (() if file is None else file.read()))
        if file is not None:
            self._seen = _stamp(file.path)

    @property
    def keys(self) -> tuple[AccessKey, ...]:
        """All keys, revoked and expired ones included."""
        self._look()
        return tuple(self._by_id.values())

    def key(self, id: str) -> AccessKey | None:
        """Return the key of that id; `None` for a caller without one."""
        return self._by_id.get(id)

    def caller(self, scope: AsgiScope) -> Caller:
        """Return who sent the request of `scope`.

        Raises
        ------
        ApiError
            401, when its key is missing, unknown, revoked or expired.
        """
        if self._file is not None:
            self._look()
        known = self._find(_sent(scope))
        if known is None:
            refusal = of_status(401, _NEEDED)
            raise refusal
        if known.for_ever:
            return known.caller
        state = known.key.state(datetime.fromtimestamp(self._clock(), UTC))
        if state != "valid":
            raise ApiError(
                401,
                f"this key has {'expired' if state == 'expired' else 'been revoked'}",
                type="authentication_error",
                code=f"{state}_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        return known.caller

    def _find(self, sent: bytes | None) -> _Known | None:
        """Return the key that was sent. How long it takes says nothing about any key."""
        given = digest(b"" if sent is None else sent)
        found = None
        candidates = self._by_start.get(given[:4], ())
        for known in candidates:
            if hmac.compare_digest(given, known.digest):
                found = known
        if not candidates:
            hmac.compare_digest(given, _NOBODY)
        return None if sent is None else found

    def _look(self) -> None:
        """Read the file again when it has changed; one that cannot be read changes nothing."""
        if self._file is None:
            return
        now = self._clock()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        stamp = _stamp(self._file.path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._learn(self._fixed + self._file.read())
        except ConfigError as error:
            _log.warning("the keys stay as they were: %s", error)

    def _learn(self, keys: Sequence[AccessKey]) -> None:
        found: dict[bytes, tuple[_Known, ...]] = {}
        for key in keys:
            for_ever = key.expires_at is None and key.revoked_at is None
            known = _Known(key, bytes.fromhex(key.sha256), self._allowed(key), for_ever)
            start = known.digest[:4]
            found[start] = (*found.get(start, ()), known)
        self._by_start = found
        self._by_id = {key.id: key for key in keys}

    def _allowed(self, key: AccessKey) -> Caller:
        return Caller(
            id=key.id,
            tenant=key.tenant,
            policies=key.policies,
            cards=None if key.cards is None else frozenset(map(self._card, key.cards)),
            admin="admin" in key.scopes,
            scopes=frozenset(key.scopes),
        )

    def _card(self, name: str) -> str:
        """Return the id of a card; a name that the pool does not hold allows nothing."""
        if self._pool is None:
            return name
        try:
            return self._pool.card(name).id
        except UnknownModelError:
            return name


def _sent(scope: AsgiScope) -> bytes | None:
    """Return the key of a request, as OpenAI's clients or Anthropic's send it."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            return key.strip() if scheme.lower() == b"bearer" and key.strip() else None
        if name == b"x-api-key":
            return value.strip() or None
    return None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
