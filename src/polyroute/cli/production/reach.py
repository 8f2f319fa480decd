"""Who can reach the server, over what, and who is let in."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from polyroute.cli.findings import Finding, Level
from polyroute.cli.production.check import Check, Found, exposed
from polyroute.config import Settings
from polyroute.errors import ConfigError
from polyroute.gateway.access.keys import AccessKey, check_strength, key_file, read_keys

__all__ = ["CHECKS"]

_SOON = timedelta(days=14)

_NEW_KEY = "polyroute key new --name NAME --expires 90d --usd-per-day 10"


def _keys(settings: Settings, _: Path | None) -> Found:
    server, access = settings.server, settings.access
    for variable, setting in (
        (server.keys_env, "server.keys_env"),
        (access.admin_keys_env, "access.admin_keys_env"),
    ):
        if variable is None:
            continue
        try:
            for key in read_keys(variable, setting=setting):
                check_strength(key, where=f"${variable}")
        except ConfigError as error:
            yield Finding("keys", "error", str(error), _NEW_KEY)
    try:
        kept = _in_file(settings)
    except ConfigError as error:
        yield Finding("keys", "error", str(error), "restore it from a backup, or make keys anew")
        return
    now = datetime.now(UTC)
    valid = [key for key in kept if key.state(now) == "valid"]
    if server.keys_env is None and not valid:
        why = "none is valid any more" if kept else "there are none"
        level: Level = "error" if exposed(settings) else "warning"
        problem = f"{why}: who reaches the server may spend without limit"
        yield Finding("keys", level, problem, _NEW_KEY)
    elif server.keys_env is not None:
        problem = "keys of server.keys_env have no limits, no end and no name"
        yield Finding("keys", "warning", problem, _NEW_KEY)
    yield from _of_each(valid, now)


def _of_each(valid: list[AccessKey], now: datetime) -> Found:
    for key in valid:
        subject = f"keys.{key.name}"
        if key.usd_per_day is None and key.usd_per_month is None and "ask" in key.scopes:
            problem = "may spend without limit"
            remedy = f"make one with --usd-per-day or --usd-per-month, then revoke {key.id}"
            yield Finding(subject, "warning", problem, remedy)
        if key.expires_at is None:
            remedy = f"make one with --expires 90d, then revoke {key.id}"
            yield Finding(subject, "warning", "never expires", remedy)
        elif key.expires_at - now < _SOON:
            problem = f"expires on {key.expires_at:%Y-%m-%d}"
            yield Finding(subject, "warning", problem, "make its successor now")


def _administrators(settings: Settings, _: Path | None) -> Found:
    scopes = _scopes(settings)
    if scopes is not None and "admin" not in scopes and settings.access.admin_keys_env is None:
        problem = "no key may administrate: nobody can open the page or see all budgets"
        remedy = "polyroute key new --name NAME --scope admin, or access.admin_keys_env"
        yield Finding("administrators", "warning", problem, remedy)


def _transport(settings: Settings, _: Path | None) -> Found:
    access = settings.access
    if access.tls is None:
        if exposed(settings) and not access.trusted_proxies:
            problem = f"{settings.server.host} takes keys and prompts in the clear"
            remedy = "access.tls, or a proxy that does TLS, named in access.trusted_proxies"
            yield Finding("tls", "error", problem, remedy)
        if any(network.endswith("/0") for network in access.trusted_proxies):
            problem = "every address is a trusted proxy, so clients can say that they are others"
            yield Finding("tls", "error", problem, "name the proxy's own addresses")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    variable = access.tls.password_env
    password = os.environ.get(variable, "") if variable is not None else ""
    try:
        context.load_cert_chain(access.tls.certificate, access.tls.key, password=password)
    except OSError as error:  # ssl.SSLError is one
        problem = f"the certificate or its key cannot be used: {error.strerror or error}"
        yield Finding("tls", "error", problem, "access.tls.certificate and access.tls.key are PEM")


def _seeing(settings: Settings, _: Path | None) -> Found:
    if not settings.watch.metrics:
        problem = "nobody can see load, failures and lost records"
        yield Finding("metrics", "warning", problem, "watch.metrics: true")
        return
    scopes = _scopes(settings)
    if scopes is not None and "metrics" not in scopes and settings.access.admin_keys_env is None:
        problem = "GET /metrics is closed: no key has the scope 'metrics'"
        remedy = "polyroute key new --name prometheus --scope metrics"
        yield Finding("metrics", "warning", problem, remedy)


def _user(_: Settings, __: Path | None) -> Found:
    if os.name == "posix" and os.geteuid() == 0:
        problem = "this is root: if the server runs so too, a fault in it is a fault of the machine"
        yield Finding("user", "warning", problem, "deploy/systemd/polyroute.service has its own")


def _scopes(settings: Settings) -> set[str] | None:
    """Return what valid keys of the file may do; `None` where nobody needs a key."""
    try:
        kept = _in_file(settings)
    except ConfigError:
        return None
    if not kept and settings.server.keys_env is None:
        return None
    now = datetime.now(UTC)
    return {scope for key in kept if key.state(now) == "valid" for scope in key.scopes}


def _in_file(settings: Settings) -> tuple[AccessKey, ...]:
    """Return the keys of the file that the server would use: on loopback only one that is named."""
    if settings.access.keys is None and not exposed(settings):
        return ()
    return key_file(settings).read()


CHECKS = (
    Check("keys", "strong, limited, and with an end", _keys),
    Check("administrators", "there is a key for them, or nobody needs one", _administrators),
    Check("tls", "keys and prompts do not leave this machine in the clear", _transport),
    Check("metrics", "Prometheus can read them", _seeing),
    Check("user", "not root", _user),
)
"""What is looked at here."""
