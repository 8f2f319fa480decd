"""Clients' keys: how they are made, what they allow, and the file that keeps them.

The one decision here: the file holds the SHA-256 of a key and never the key. A key has 190 random
bits, which nobody finds by trying, so a slow hash would add time to every request and nothing else;
a key that a person thought of is refused instead.
"""

import hashlib
import json
import math
import os
import secrets
import string
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import Field, ValidationError, field_validator

from polyroute.config import Settings, Usd, state_folder
from polyroute.config.strict import Strict
from polyroute.errors import ConfigError
from polyroute.records.store import private_folder
from polyroute.state.shared import LARGEST, usd_of

try:
    import fcntl
except ModuleNotFoundError:  # not a POSIX system: one writer at a time is then the user's affair
    fcntl = None  # type: ignore[assignment]

__all__ = [
    # what a key allows
    "SCOPES", "AccessKey", "Scope",
    # the key itself
    "check_strength", "digest", "generate", "is_mistyped", "read_keys",
    # the file
    "KeyFile", "key_file",
]  # fmt: skip

Scope: TypeAlias = Literal["ask", "feedback", "traces", "metrics", "admin"]
"""``ask``: have requests answered; ``feedback``: say what answers were worth; ``traces``: read
records by id; ``metrics``: read the counters; ``admin``: see and change what is not one's own."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX = "pr_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM = 32
"""Random characters of a key, of 5.95 bits each."""
_CHECK = 6

_LEAST_BITS = 64.0
"""A key below this, by the frequency of its characters, is one that can be found by trying."""
_LEAST_LENGTH = 20
_LEAST_DIFFERENT = 8
"""Characters that must differ: a short text repeated often is still a short text."""


class AccessKey(Strict):
    """A key as the file keeps it: everything but the key. A limit of `None` is no limit."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    """First digits of the hash: names the key in logs and counters, and opens nothing."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str = Field(min_length=1, max_length=100)
    """For people."""
    tenant: str = Field("default", min_length=1, max_length=100)
    """Whose it is."""
    scopes: frozenset[Scope] = frozenset({"ask", "feedback"})
    policies: frozenset[str] | None = None
    """The policies it may ask for: ``default``, a configured name, ``fixed`` for single cards."""
    cards: frozenset[str] | None = None
    """The cards that may be asked for it, by id or alias."""
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    usd_per_day: Usd | None = Field(None, ge=0)
    """Of a day in UTC."""
    usd_per_month: Usd | None = Field(None, ge=0)
    """Of a calendar month in UTC."""
    usd_per_request: Usd | None = Field(None, gt=0, le=usd_of(LARGEST))
    """Cap of every single request."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    @field_validator("created_at", "expires_at", "revoked_at")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone: 2026-01-31T00:00:00Z")
        return value

    @cached_property
    def limited(self) -> bool:
        """Whether anything has to be counted for it."""
        counted = self.requests_per_minute is None and self.tokens_per_minute is None
        return not (counted and self.usd_per_day is None and self.usd_per_month is None)

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """Return whether it opens anything at `now`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


def generate() -> str:
    """Return a new key: a prefix that scanners of leaked keys can look for, 190 random bits, check.

    Examples
    --------
    >>> key = generate()
    >>> key[:3], len(key), is_mistyped(key), is_mistyped(key[:-1] + "?")
    ('pr_', 41, False, True)
    """
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{_PREFIX}{random}{_checksum(random)}"


def is_mistyped(key: str) -> bool:
    """Whether `key` looks like one of ours and cannot be: its checksum is wrong."""
    if not key.startswith(_PREFIX) or len(key) != len(_PREFIX) + _RANDOM + _CHECK:
        return False
    return _checksum(key[len(_PREFIX) : -_CHECK]) != key[-_CHECK:]


def digest(key: bytes) -> bytes:
    """Return what is kept and compared in place of a key."""
    return hashlib.sha256(key).digest()


def check_strength(key: str, *, where: str) -> None:
    """Refuse a key that somebody could find by trying.

    Raises
    ------
    ConfigError
        If it is shorter than 20 characters, or its characters repeat too much.

    Examples
    --------
    >>> check_strength("hunter2", where="$KEYS")
    Traceback (most recent call last):
        ...
    polyroute.errors.ConfigError: $KEYS holds a weak key (7 characters): ...
    """
    counts = Counter(key)
    bits = -sum(n * math.log2(n / len(key)) for n in counts.values()) if key else 0.0
    if len(key) < _LEAST_LENGTH or len(counts) < _LEAST_DIFFERENT or bits < _LEAST_BITS:
        raise ConfigError(
            f"{where} holds a weak key ({len(key)} characters): others can reach this server, so "
            "use keys that nobody can guess; make one with: polyroute key new"
        )


def read_keys(variable: str, *, setting: str = "server.keys_env") -> tuple[str, ...]:
    """Return the keys that the environment variable `variable` holds, separated by commas.

    Raises
    ------
    ConfigError
        If it is not set, or holds no key.
    """
    keys = tuple(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())
    if not keys:
        raise ConfigError(
            f"{setting}: the environment variable {variable!r} is not set or empty; set it "
            "to the clients' keys, separated by commas"
        )
    return keys


class _Kept(Strict):
    """The content of the file."""

    version: Literal[1] = 1
    keys: tuple[AccessKey, ...] = ()


class KeyFile:
    """A file of keys. A change is written whole, beside the old file, and then put in its place.

    Parameters
    ----------
    path : path
        Made at the first key, for its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[AccessKey, ...]:
        """Return the keys, in the order they were made; none when there is no file.

        Raises
        ------
        ConfigError
            If it cannot be read, or is no file of keys.
        """
        try:
            return _Kept.model_validate_json(self.path.read_bytes()).keys
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror or error}") from error
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise ConfigError(
                f"{self.path} is no file of keys: {place}: {problem['msg']}"
            ) from None

    def add(self, key: AccessKey) -> None:
        """Add a key.

        Raises
        ------
        ConfigError
            If the file cannot be read or written.
        """
        with self._changing():
            self._write((*self.read(), key))

    def revoke(self, wanted: str) -> AccessKey:
        """Revoke the key of that id or name, and return it.

        Raises
        ------
        ConfigError
            If there is none, or several have the name, or the file cannot be written.
        """
        with self._changing():
            keys = self.read()
            found = [key for key in keys if wanted == key.id]
            found = found or [k for k in keys if k.name == wanted and k.revoked_at is None]
            if len(found) != 1:
                known = ", ".join(f"{key.id} ({key.name})" for key in found or keys) or "none"
                what = "is the name of several keys" if found else "names no key"
                raise ConfigError(f"{wanted!r} {what}; give the id of one: {known}")
            now = datetime.now(UTC)
            revoked = found[0].model_copy(update={"revoked_at": found[0].revoked_at or now})
            self._write([revoked if key.id == revoked.id else key for key in keys])
        return revoked

    def _write(self, keys: Sequence[AccessKey]) -> None:
        kept = _Kept(keys=tuple(keys)).model_dump(mode="json", exclude_none=True)
        for key in kept["keys"]:
            for name in ("scopes", "policies", "cards"):
                if name in key:
                    key[name] = sorted(key[name])
        text = json.dumps(kept, indent=2) + "\n"
        try:
            number, name = tempfile.mkstemp(dir=self.path.parent, prefix=".keys-")  # mode 0600
            with os.fdopen(number, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror or error}") from error

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one process at a time change the file."""
        try:
            private_folder(self.path.parent)
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror or error}") from error
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def key_file(settings: Settings) -> KeyFile:
    """Return the file of keys of `settings`, whether it is there or not."""
    return KeyFile(settings.access.keys or state_folder() / "keys.json")


def _checksum(random: str) -> str:
    rest = zlib.crc32(random.encode())
    digits = []
    for _ in range(_CHECK):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
