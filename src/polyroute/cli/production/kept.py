"""What is written down, where, and who else can read it."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from polyroute.cli.findings import Finding
from polyroute.cli.production.check import Check, Found, exposed, is_local, mode
from polyroute.config import Settings, state_folder
from polyroute.errors import ConfigError
from polyroute.gateway.access.audit import audit_log
from polyroute.gateway.access.keys import key_file
from polyroute.redaction import redact
from polyroute.types import Json

try:
    import resource
except ModuleNotFoundError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

__all__ = ["CHECKS"]

"""Policies that learn while the server runs."""

_PURGED_WITHIN = timedelta(days=31)

_OTHERS = 0o077
"""Whoever is not the owner, in any way."""

_WRITE = 0o222

_OTHERS_OF_A_MOUNT = 0o037
"""A secret that Kubernetes mounts is read-only, and its group is the server's own."""

_OTHERS_WRITE = 0o022


def _records(settings: Settings, _: Path | None) -> Found:
    records = settings.records
    many = settings.server.workers > 1
    if records.store == "none":
        problem = "none are kept: no bill can be looked up, no answer audited"
        remedy = "records.store: sqlite or postgres; records.content: hash keeps no texts"
        yield Finding("records", "error", problem, remedy)
        return
    if records.store != "postgres" and settings.state.store == "redis":
        problem = "state is shared by many machines, and records are in a file of each"
        remedy = "records: {store: postgres, url_env: ...}"
        yield Finding("records", "warning", problem, remedy)
    elif records.store != "postgres" and many:
        problem = f"{settings.server.workers} workers write one file, one after the other"
        remedy = "well for one machine; records.store: postgres for more"
        yield Finding("records", "warning", problem, remedy)
    if not _purged_lately(settings):
        problem = "nothing was purged in the last 31 days, so records are kept for ever"
        remedy = "run 'polyroute trace purge --older-than 30d' daily (deploy/systemd, a CronJob)"
        yield Finding("retention", "warning", problem, remedy)


def _purged_lately(settings: Settings) -> bool:
    """Whether the audit log has a purge by age that is recent."""
    since = datetime.now(UTC) - _PURGED_WITHIN
    try:
        lines = audit_log(settings).path.read_text("utf-8").splitlines()
    except OSError:
        return False
    for line in reversed(lines):
        try:
            act = json.loads(line)
            at = datetime.fromisoformat(act["at"])
        except (ValueError, KeyError, TypeError):
            continue
        if act.get("act") == "trace.purge" and "older_than" in act and at >= since:
            return True
    return False


def _state(settings: Settings, _: Path | None) -> Found:
    state = settings.state
    if state.store == "memory" and settings.server.workers == 1 and _has_limits(settings):
        problem = "what keys have spent is forgotten when the server restarts"
        yield Finding("state", "error", problem, "state.store: sqlite, or redis")
    if state.store != "redis":
        return
    if state.on_loss == "open":
        problem = "while Redis is gone, no limit holds"
        yield Finding("state", "warning", problem, "state.on_loss: closed")
    url = urlsplit(state.url)
    if not is_local(url.hostname or "localhost"):
        if state.password_env is None:
            problem = "who reaches Redis can change what keys have spent"
            yield Finding("state", "error", problem, "a password in Redis, and state.password_env")
        if url.scheme != "rediss":
            problem = "Redis is asked in the clear"
            yield Finding("state", "warning", problem, "rediss://, or a network of your own")


def _has_limits(settings: Settings) -> bool:
    if settings.access.keys is None and not exposed(settings):
        return False
    try:
        return any(key.limited for key in key_file(settings).read())
    except ConfigError:
        return False


def _files(settings: Settings, file: Path | None) -> Found:
    """Look at who else on this machine may read or change what is the server's."""
    private = {
        "keys": key_file(settings).path,
        "records": settings.records.path or state_folder() / f"records.{settings.records.store}",
        "state": settings.state.path or state_folder() / "state.sqlite",
        "audit log": audit_log(settings).path,
    }
    if settings.access.tls is not None:
        private["TLS key"] = settings.access.tls.key
    for what, path in private.items():
        bits = mode(path)
        if bits is not None and bits & (_OTHERS if bits & _WRITE else _OTHERS_OF_A_MOUNT):
            problem = f"{path} ({what}) is open to others ({bits:04o})"
            yield Finding("files", "error", problem, f"chmod 600 {path}")
    bits = None if file is None else mode(file)
    if bits is not None and bits & _OTHERS_WRITE:
        problem = f"{file} can be changed by others ({bits:04o}), and says where prompts go"
        yield Finding("files", "error", problem, f"chmod go-w {file}")


_SECRET_HEADER = re.compile(r"authorization|cookie|key|token|secret|password", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROSE = ("description", "matches", "system", "template", "id", "aliases", "model")
"""Keys whose values are words; a word may look like a secret."""


def _secrets(_: Settings, file: Path | None) -> Found:
    if file is None:
        return
    content = yaml.safe_load(file.read_text("utf-8"))
    for place, text in _texts(content):
        if _is_secret(place, text):
            problem = f"{'.'.join(place)} holds a secret"
            remedy = (
                "put it into an environment variable, name that in the setting that ends in _env"
            )
            yield Finding("secrets", "error", f"{problem}, in {file}", remedy)


def _is_secret(place: tuple[str, ...], text: str) -> bool:
    """Return whether the text at `place` is, or looks like, a secret."""
    name, above = place[-1], place[-2:-1]
    in_header = above == ("headers",) and _SECRET_HEADER.search(name) is not None
    no_variable = name.endswith("_env") and not _VARIABLE.fullmatch(text)
    return in_header or no_variable or (name not in _PROSE and redact(text) != text)


def _texts(value: Json, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text of a configuration after its place."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _texts(below, (*place, str(key)))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _texts(below, (*place, str(number)))
    elif isinstance(value, str) and place:
        yield place, value


def _variables(settings: Settings, _: Path | None) -> Found:
    """Look for what is named and not there; the clients' keys are looked at by themselves."""
    for place, name in _texts(settings.model_dump(mode="json", exclude={"server"})):
        names_one = place[-1].endswith("_env") and _VARIABLE.fullmatch(name)
        if names_one and not os.environ.get(name, "").strip():
            problem = f"{'.'.join(place)} names {name}, which is not set or empty"
            remedy = f"export {name}=..., or a line in the EnvironmentFile of the service"
            yield Finding("variables", "error", problem, remedy)


def _limits(settings: Settings, _: Path | None) -> Found:
    if settings.server.grace_s == 0:
        problem = "a server that is told to stop cuts every running stream"
        yield Finding("stopping", "warning", problem, "server.grace_s: 30")
    if resource is None:
        return
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = 2 * settings.access.max_requests + 64
    if files != resource.RLIM_INFINITY and files < needed:
        problem = f"{files} open files, and {settings.access.max_requests} requests need {needed}"
        yield Finding("open files", "warning", problem, f"ulimit -n {needed}, or LimitNOFILE")


CHECKS = (
    Check("records", "kept, and purged by age", _records),
    Check("state", "what is counted is counted for as long as it must be", _state),
    Check("files", "keys, records and configuration are their owner's", _files),
    Check("secrets", "none in the configuration", _secrets),
    Check("variables", "all that are named are set", _variables),
    Check("limits of the process", "enough", _limits),
)
"""What is looked at here."""
