"""Run the server until it is told to stop.

The one decision here: a server that others can reach has keys, or it does not start.
"""

import asyncio
import copy
import gc
import ipaddress
import logging
import math
import os
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from polyroute.config import Settings, build, open_state, read
from polyroute.errors import ConfigError, MissingExtraError

try:
    import uvicorn
    from starlette.types import ASGIApp
    from uvicorn.config import LOGGING_CONFIG

    from polyroute.gateway.access.connections import transport_options
    from polyroute.gateway.access.keys import check_strength, key_file, read_keys
    from polyroute.gateway.access.redacting import Redacting
    from polyroute.gateway.app import Lasting, create_app
    from polyroute.gateway.keeper import Keeper
    from polyroute.gateway.reload import Early, Reloading
    from polyroute.gateway.watch.history import History
    from polyroute.gateway.watch.log import LOGGER as REQUESTS
    from polyroute.gateway.workers import supervise
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"the server needs the package {error.name!r}, which is not installed; run: "
        "pip install 'polyroute[serve]'"
    ) from error

__all__ = ["serve"]

_log = logging.getLogger(__name__)

_BACKLOG = 2048
"""Connections that may wait to be taken up."""


def serve(
    settings: Settings,
    host: str | None = None,
    port: int | None = None,
    *,
    workers: int | None = None,
    shared: bool = False,
    file: Path | None = None,
) -> None:
    """Serve `settings` until the process is interrupted or told to end.

    Parameters
    ----------
    settings : Settings
        The configuration.
    host, port : optional
        Where to listen, instead of what the configuration says. Port 0 takes a free one.
    workers : int, optional
        How many processes, instead of what the configuration says.
    shared : bool, default=False
        Whether this is one of several processes that listen on one port.
    file : path, optional
        Where `settings` come from: it is read again on SIGHUP.

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
            "workers": settings.server.workers if workers is None else workers,
        }
    )
    settings, keys = _with_keys(settings.model_copy(update={"server": server}))
    if server.workers > 1 and not shared:
        _serve_by_many(settings, file)
        return
    early = Early()
    early.listen()
    app = _application(settings, keys, file, early)
    config = uvicorn.Config(
        app,
        log_config=_logging(),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(server.grace_s),
        **transport_options(settings.access, _tls_password(settings)),
    )
    _check_tls(config)
    listener = _listen(server.host, server.port, shared=shared)
    _log.info("listening on %s", _url(listener, tls=config.is_ssl))
    _settle_memory()
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _application(
    settings: Settings, keys: tuple[str, ...], file: Path | None, early: Early
) -> ASGIApp:
    """Return an application that can be replaced by that of a new configuration."""
    setup = build(settings)
    keeper = Keeper(setup.records, settings.records.content)
    lasting = Lasting(keeper, open_state(settings.state), History(setup))
    return Reloading(
        create_app(setup, keys=keys, lasting=lasting),
        _Successor(settings, file, lasting),
        end=lasting.close,
        file=file,
        every_s=settings.server.reload_every_s,
        early=early,
    )


def _settle_memory() -> None:
    """Let the collector of cycles pass over what lives as long as the server does.

    A request makes hundreds of objects and hardly a cycle: looked for every 700 objects, as is
    usual, cycles cost more than they are worth. When they are looked for, what the running requests
    hold grows old with them, and would stay for ten times ten collections; as little else is there
    that is not frozen, the old is looked through nearly every time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 2, 1)


def _serve_by_many(settings: Settings, file: Path | None) -> None:
    """Let several processes listen on one port."""
    server = settings.server
    with _listen(server.host, server.port) as listener:  # that nobody else has the port
        port = listener.getsockname()[1]
    if settings.state.store == "memory":
        # a limit that every worker counts for itself is none
        state = settings.state.model_copy(update={"store": "sqlite"})
        settings = settings.model_copy(update={"state": state})
        _log.info(
            "what each counts for itself is no limit: %d workers count together, in SQLite",
            server.workers,
        )
    with socket.socket(listener.family) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((server.host, port))  # it stays ours while workers come and go
        arguments = {"settings": settings, "port": port, "shared": True, "file": file}
        watched = server.reload_every_s is not None
        supervise(serve, arguments, count=server.workers, watched=watched)


def _listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Take the port now: if it is taken, that is the user's to know, in the user's words."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, reuse_port=shared
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host!r}, port {port}: {_why(error)}; choose another "
            "with --host and --port, or in server.host and server.port"
        ) from error


def _why(error: OSError) -> str:
    """Return the system's own words, without what was added to them."""
    return str(error) if error.errno is None or error.errno < 0 else os.strerror(error.errno)


def _url(listener: socket.socket, *, tls: bool) -> str:
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}/v1"


def _logging() -> dict[str, Any]:
    """Return the server's own logging with ours in it: a lost record must not be lost silently."""
    config = copy.deepcopy(LOGGING_CONFIG)
    ours = {"handlers": ["default"], "level": "INFO", "propagate": False}
    config["loggers"]["polyroute"] = ours
    # lines of JSON are whole: nothing goes before them
    config["formatters"]["bare"] = {"format": "%(message)s"}
    stream = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "bare"}
    config["handlers"]["requests"] = stream
    config["loggers"][REQUESTS] = {**ours, "handlers": ["requests"]}
    config["filters"] = {"redact": {"()": Redacting}}
    for handler in config["handlers"].values():
        handler["filters"] = ["redact"]
    return config


def _with_keys(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings with the file of keys that is used, and the keys of the environment."""
    server, access = settings.server, settings.access
    keys = () if server.keys_env is None else read_keys(server.keys_env)
    if _is_loopback(server.host):
        return settings, keys
    for key in keys:
        check_strength(key, where=f"server.keys_env: ${server.keys_env}")
    if access.admin_keys_env is not None:
        for key in read_keys(access.admin_keys_env, setting="access.admin_keys_env"):
            check_strength(key, where=f"access.admin_keys_env: ${access.admin_keys_env}")
    path = key_file(settings).path
    if access.keys is None and path.exists():
        access = access.model_copy(update={"keys": path})
        settings = settings.model_copy(update={"access": access})
    if not keys and access.keys is None:
        raise ConfigError(
            f"server.host {server.host!r} can be reached by others, and no keys are set: make one "
            "with 'polyroute key new --name NAME', or put the clients' keys into an environment "
            "variable and name it in server.keys_env, or listen on 127.0.0.1"
        )
    return settings, keys


def _tls_password(settings: Settings) -> str | None:
    tls = settings.access.tls
    if tls is None or tls.password_env is None:
        return None
    password = os.environ.get(tls.password_env)
    if not password:
        raise ConfigError(f"access.tls.password_env: {tls.password_env!r} is not set or empty")
    return password


def _check_tls(config: uvicorn.Config) -> None:
    """Read the certificate now: if it cannot be used, that is the user's to know."""
    try:
        config.load()
    except OSError as error:
        raise ConfigError(
            f"access.tls: the certificate or its key cannot be used: {error.strerror or error}"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Successor:
    """Builds the application of a configuration file as it is now, beside the one that serves."""

    def __init__(self, settings: Settings, file: Path | None, lasting: Lasting) -> None:
        self._settings = settings
        self._file = file
        self._lasting = lasting

    async def __call__(self) -> ASGIApp:
        """Return it.

        Raises
        ------
        ConfigError
            If it cannot be used, or changes what only a restart can.
        """
        settings = await asyncio.to_thread(read, self._file)
        now = self._settings
        told = {name: getattr(now.server, name) for name in ("host", "port", "workers")}
        settings = settings.model_copy(update={"server": settings.server.model_copy(update=told)})
        settings, keys = _with_keys(settings)
        if now.server.workers > 1 and settings.state.store == "memory":
            settings = settings.model_copy(update={"state": now.state})
        fixed = (
            ("state", now.state, settings.state),
            ("records", now.records, settings.records),
            ("access.tls", now.access.tls, settings.access.tls),
        )
        for name, old, new in fixed:
            if old != new:
                raise ConfigError(f"{name} has changed, and that takes a restart")
        setup = await asyncio.to_thread(build, settings)
        if setup.records is not None:
            await asyncio.to_thread(setup.records.close)
        setup = replace(setup, records=self._lasting.keeper.store)
        return create_app(setup, keys=keys, lasting=self._lasting)
