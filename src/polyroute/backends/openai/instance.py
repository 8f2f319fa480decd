"""One endpoint of a model: where it is, what it is called there, how long it may take.

The one decision here: configuration names the variable that holds a key, never the key; the key
is read when a request is sent, and everything that is shown leaves it out.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from yarl import URL

from polyroute.backends.openai.errors import Secrets
from polyroute.errors import BackendError, ConfigError

__all__ = ["Instance"]

_SHORTEST_SECRET = 8
"""Characters; a shorter header value (``1``, ``beta``) is no secret."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Instance:
    """One endpoint of a model.

    Raises
    ------
    ConfigError
        If the URL is no base URL of an API, or a limit is not positive.
    """

    url: str
    """Base URL, as in ``https://api.openai.com/v1``."""
    model: str | None = None
    """The upstream's name of the model; the card's id when `None`."""
    key_env: str | None = None
    """Name of the environment variable that holds the key; `None` sends no key."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers. Never shown: they may hold a secret."""
    connect_s: float = 5.0
    """Seconds to make a connection."""
    first_token_s: float = 60.0
    """Seconds from sending to the first token of a stream; a whole reply has `total_s`."""
    total_s: float = 300.0
    """Seconds from the start of the call to its end, earlier attempts included."""
    weight: float = 1.0
    """Its share of the calls, relative to the other instances, for balancers that look at it."""
    region: str | None = None
    """Where it is, for the balancer ``nearby``, and for whoever reads the trace."""
    name: str | None = None
    """What traces and messages call it; host, port and path of the URL when `None`."""
    continues: Literal["flags", "bare", "completions"] | None = None
    """How it goes on from the prefix of a call: ``flags`` with the parameters of vLLM and SGLang
    (``continue_final_message``), ``bare`` by itself when the last message is the assistant's
    (llama.cpp), ``completions`` at the endpoint of that name, with `template`. `None`: not at
    all."""
    template: str | None = None
    """With ``continues: completions``: the text of a conversation of one user message, up to the
    assistant's turn, with ``{prompt}`` in the message's place. Every call is then sent so."""

    def __post_init__(self) -> None:
        if (self.continues == "completions") != (self.template is not None):
            raise ConfigError(
                f"template goes with continues: completions, and that needs one; got continues "
                f"{self.continues!r} and template {self.template!r:.60}"
            )
        if self.template is not None and "{prompt}" not in self.template:
            raise ConfigError(
                "a template holds {prompt}, where the user's message goes in; got "
                f"{self.template!r:.80}"
            )
        try:
            url = URL(self.url)
        except ValueError as error:
            raise ConfigError(f"an instance needs a URL: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(
                "the url of an instance begins with http:// or https:// and names a host, as in "
                f"'https://api.openai.com/v1'; got {url.scheme!r} and host {url.host!r}"
            )
        if url.user or url.password:
            raise ConfigError(
                f"the url of instance {self.label!r} holds a user or a password; put the key into "
                "an environment variable and its name into key_env"
            )
        if url.path.rstrip("/").endswith("/completions"):
            raise ConfigError(
                f"the url of instance {self.label!r} is the API's base URL; leave out "
                "'/chat/completions' or '/completions'"
            )
        for limit in ("connect_s", "first_token_s", "total_s", "weight"):
            if not getattr(self, limit) > 0:
                raise ConfigError(f"{limit} of instance {self.label!r} must be more than 0")
        if not all(value.isprintable() for value in self.headers.values()):
            raise ConfigError(f"a header of instance {self.label!r} holds a control character")
        if self.key_env is not None and "authorization" in map(str.lower, self.headers):
            raise ConfigError(
                f"instance {self.label!r} has both key_env and an Authorization header; drop one"
            )

    @property
    def label(self) -> str:
        """What traces and messages call it; never with a secret in it."""
        return self.name or _label(self.url)

    def __repr__(self) -> str:
        return f"Instance({self.label!r}, model={self.model!r}, key_env={self.key_env!r})"

    def endpoint(self, path: str) -> URL:
        """URL of `path` under the base; a query (``api-version=…``) stays."""
        url = URL(self.url)
        return url.with_path(f"{url.path.rstrip('/')}/{path}").with_query(url.query)

    def key(self) -> str | None:
        """Read the key, now: it may be rotated while the program runs.

        Raises
        ------
        BackendError
            Of kind ``auth``, if the variable is not set or cannot be sent in a header.
        """
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise BackendError(
                f"the environment variable {self.key_env} holds no key for {self.label}; set it, "
                f"as in: export {self.key_env}=…",
                kind="auth",
            )
        if not (key.isascii() and key.isprintable()):
            raise BackendError(
                f"the environment variable {self.key_env} holds characters that no key for "
                f"{self.label} can have; set it again",
                kind="auth",
            )
        return key

    def request_headers(self) -> dict[str, str]:
        """Return the headers of a request, with the key.

        Raises
        ------
        BackendError
            As `key` does.
        """
        key = self.key()
        headers = {"Content-Type": "application/json", "User-Agent": "polyroute", **self.headers}
        return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}

    def secrets(self) -> Secrets:
        """Return what must not be shown: the key, and each header long enough to be one."""
        words = [value for value in self.headers.values() if len(value) >= _SHORTEST_SECRET]
        key = os.environ.get(self.key_env, "").strip() if self.key_env is not None else ""
        return Secrets((*words, key) if key else tuple(words))


@functools.lru_cache(maxsize=1024)
def _label(url: str) -> str:
    parts = URL(url)
    return f"{parts.host}:{parts.port}{parts.path.rstrip('/')}"
