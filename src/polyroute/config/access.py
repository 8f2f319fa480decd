"""Who is let in, over what, and how much of everything at a time."""

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator

from polyroute.config.strict import Strict

__all__ = ["AccessSettings", "TlsSettings"]


class TlsSettings(Strict):
    """The certificate of a server that speaks TLS itself."""

    certificate: Path
    """PEM file: the certificate, then those that signed it."""
    key: Path
    """PEM file: its private key."""
    password_env: str | None = None
    """Name of the environment variable that holds the key file's password."""


class AccessSettings(Strict):
    """Who may do what."""

    keys: Path | None = None
    """The file of keys that `polyroute key` writes. A server that others can reach uses
    ``keys.json`` in the state folder when this is not given."""
    admin_keys_env: str | None = None
    """Name of the environment variable that holds administrators' keys, separated by commas."""
    audit: Path | None = None
    """Where administrators' acts are noted; ``audit.jsonl`` in the state folder if missing."""
    tls: TlsSettings | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed."""
    max_requests: int = Field(1_024, ge=1)
    """Requests of one process at the same time; more are told to try again (503)."""
    max_header_kb: int = Field(64, ge=1)
    """Longest request line and headers together."""
    header_timeout_s: float = Field(10.0, gt=0)
    """How long a connection may take to send the headers of a request, from its first byte."""
    body_timeout_s: float = Field(60.0, gt=0)
    """How long a request may take to send its body."""

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"{network!r} is no address or network ({error})") from None
        return value
