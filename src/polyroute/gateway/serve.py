"""Run the server until it is told to stop.

The one decision here: a server that others can reach has keys, or it does not start.
"""

import copy
import ipaddress
import logging
import os
import socket
from contextlib import suppress
from typing import Any

from polyroute.config import ServerSettings, Settings, build
from polyroute.errors import ConfigError, MissingExtraError

try:
    import uvicorn
    from uvicorn.config import LOGGING_CONFIG

    from polyroute.gateway.app import create_app
    from polyroute.gateway.access.keys import read_keys
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"the server needs the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[serve]'"
    ) from error

__all__ = ["serve"]

_log = logging.getLogger(__name__)

_BACKLOG = 2048
"""Connections that may wait to be taken up."""

_GRACE_S = 10
"""Seconds that running requests are given when the server is told to stop."""


def serve(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Serve `settings` until the process is interrupted or told to end.

    Parameters
    ----------
    settings : Settings
        The configuration.
    host, port : optional
        Where to listen, instead of what the configuration says. Port 0 takes a free one.

    Raises
    ------
    ConfigError
        If something in `settings` cannot be built, a key is missing, the port is taken, or others
        could reach a server that has no keys.
    """
    server = settings.server.model_copy(
        update={
            "host": settings.server.host if host is None else host,
            "port": settings.server.port if port is None else port,
        }
    )
    keys = _keys(server)
    app = create_app(build(settings), keys=keys)
    listener = _listen(server.host, server.port)
    config = uvicorn.Config(
        app,
        log_config=_logging(),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    _log.info("listening on %s", _url(listener))
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Take the port now: if it is taken, that is the user's to know, in the user's words."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host!r}, port {port}: {_why(error)}; choose another "
            "with --host and --port, or in server.host and server.port"
        ) from error


def _why(error: OSError) -> str:
    """Return the system's own words, without what was added to them."""
    return str(error) if error.errno is None or error.errno < 0 else os.strerror(error.errno)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _logging() -> dict[str, Any]:
    """Return the server's own logging with ours in it: a lost record must not be lost silently."""
    config = copy.deepcopy(LOGGING_CONFIG)
    ours = {"handlers": ["default"], "level": "INFO", "propagate": False}
    config["loggers"]["polyroute"] = ours
    return config


def _keys(server: ServerSettings) -> tuple[str, ...]:
    if server.keys_env is not None:
        return read_keys(server.keys_env)
    if not _is_loopback(server.host):
        raise ConfigError(
            f"server.host {server.host!r} can be reached by others, and no keys are set: put the "
            "clients' keys into an environment variable, name it in server.keys_env, or listen on "
            "127.0.0.1"
        )
    return ()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
