"""What `polyroute doctor` tries out: every candidate, the records, what is installed."""

import asyncio
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Protocol, runtime_checkable

import polyroute
from polyroute.backends.local.weights import EMBEDDED, find, verify
from polyroute.cli.findings import Finding
from polyroute.config import CardSettings, RecordSettings, Setup, open_records, state_folder
from polyroute.episode import run_episode
from polyroute.errors import ConfigError, RecordError
from polyroute.policies.fixed import Fixed
from polyroute.protocols import Backend
from polyroute.trace import Reply
from polyroute.types import Budget, Message, Request

__all__ = ["installed", "probe_cards", "probe_records", "probe_weights"]

_PATIENCE_S = 120.0
"""How long one candidate may take: weights are loaded from disk, tools start a process."""

_LITTLE_ROOM_MB = 100

_EXTRAS = ("local", "serve", "tables")


def installed() -> Iterator[Finding]:
    """Report the versions, and which extras are complete."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("polyroute", problem=f"{polyroute.__version__}, {python}")
    needed = [(line, _EXTRA.search(line)) for line in requires("polyroute") or ()]
    for extra in _EXTRAS:
        names = [line for line, of in needed if of is not None and of["extra"] == extra]
        missing = [name for line in names if (name := _missing(line)) is not None]
        if missing:
            lacks = f"not installed: {', '.join(missing)}"
            remedy = f"only where it is needed: pip install 'polyroute[{extra}]'"
            yield Finding(f"extra [{extra}]", problem=lacks, remedy=remedy)
        else:
            yield Finding(f"extra [{extra}]", problem="installed")


_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[^'"]+)""")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def _missing(requirement: str) -> str | None:
    """Return the name of a distribution that is not installed."""
    found = _NAME.match(requirement)
    if found is None or "sys_platform" in requirement:
        return None
    try:
        version(found[0])
    except PackageNotFoundError:
        return found[0]
    return None


def probe_records(records: RecordSettings) -> Finding:
    """Report whether a record could be stored, and those that are there can be read."""
    if records.store == "none":
        return Finding("records", problem="none are kept")
    if records.store == "postgres":
        return _reachable(records)
    path = records.path or state_folder() / f"records.{records.store}"
    remedy = "make it writable, or set records.path to another file"
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        if path.exists() and not os.access(path, os.W_OK):
            return Finding("records", "error", f"{path} is read-only", remedy)
    except OSError as error:
        problem = f"cannot write into {folder}: {error.strerror or error}"
        return Finding("records", "error", problem, remedy)
    room_mb = shutil.disk_usage(folder).free // 1_000_000
    if room_mb < _LITTLE_ROOM_MB:
        return Finding("records", "warning", f"{room_mb} MB of room left in {folder}", "make room")
    return _readable(records, path)


def _reachable(records: RecordSettings) -> Finding:
    remedy = "see that Postgres runs, and that the variable of records.url_env holds its URL"
    try:
        store = open_records(records)
        try:
            count = store.head().count
        finally:
            store.close()
    except (ConfigError, RecordError) as error:
        return Finding("records", "error", str(error), remedy)
    return Finding("records", problem=f"Postgres at ${records.url_env} holds {count}")


def _readable(records: RecordSettings, path: Path) -> Finding:
    try:
        problems = open_records(records).problems() if path.exists() else ()
    except RecordError as error:
        return Finding("records", "error", str(error), "polyroute trace verify")
    if problems:
        first = f"{problems[0].where}: {problems[0].reason}"
        problem = f"{len(problems)} of the entries in {path} cannot be read, first {first}"
        return Finding("records", "error", problem, "polyroute trace verify names what is broken")
    return Finding("records", problem=f"{path} can be written")


def probe_weights(cards: Sequence[CardSettings]) -> Iterator[Finding]:
    """Report whether the embedded weights that cards name are there, and whole to the last byte."""
    for card in cards:
        spec = card.backend
        name = spec.get("gguf") if isinstance(spec, Mapping) else None
        if not isinstance(name, str) or name not in EMBEDDED:
            continue
        try:
            path = find(name)
            verify(path, EMBEDDED[name])
        except ConfigError as error:
            yield Finding(f"weights {name}", "error", str(error), f"polyroute pool fetch {name}")
        else:
            yield Finding(f"weights {name}", problem=f"{path}, checksum right")


async def probe_cards(setup: Setup, done: Callable[[], None]) -> list[Finding]:
    """Try every candidate, all at once: endpoints are asked for their models, others a question.

    Parameters
    ----------
    setup : Setup
        Its backends are closed at the end.
    done : callable
        Called after each candidate.
    """

    async def one(id: str, backend: Backend) -> list[Finding]:
        found = await _probe(id, backend, setup)
        done()
        return found

    try:
        found = await asyncio.gather(*(one(id, item) for id, item in setup.backends.items()))
    finally:
        for backend in setup.backends.values():
            await backend.close()
    return [finding for findings in found for finding in findings]


class _Probe(Protocol):
    """What one endpoint said of itself."""

    @property
    def instance(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def seconds(self) -> float: ...


@runtime_checkable
class _HasProbe(Protocol):
    async def probe(self) -> Sequence[_Probe]: ...


async def _probe(id: str, backend: Backend, setup: Setup) -> list[Finding]:
    if not isinstance(backend, _HasProbe):
        return [_judge(f"pool.{id}", await _ask(id, backend, setup))]
    return [_endpoint(f"pool.{id}", probe) for probe in await backend.probe()]


def _endpoint(subject: str, probe: _Probe) -> Finding:
    if not probe.ok:
        remedy = "check its url and key_env in the configuration, and that it runs"
        return Finding(subject, "error", f"{probe.instance}: {probe.message}", remedy)
    if probe.message:
        remedy = "check the name in 'model' of this instance"
        return Finding(subject, "warning", f"{probe.instance}: {probe.message}", remedy)
    return Finding(subject, problem=f"{probe.instance} lists its models, {probe.seconds:.2f} s")


async def _ask(id: str, backend: Backend, setup: Setup) -> Reply:
    """Ask a candidate that runs here one short question."""
    request = Request(
        id="doctor",
        messages=(Message("user", "What is 1 + 1?"),),
        budget=Budget(rounds=1, seconds=_PATIENCE_S),
        params={"max_tokens": 8},
    )
    trace = await run_episode(Fixed(id), backend, request, setup.pool)
    return trace.replies[0]


def _judge(subject: str, reply: Reply) -> Finding:
    failure = reply.failure
    if failure is not None and failure.kind != "refusal":
        remedy = "see 'backend' of this card in the configuration"
        return Finding(subject, "error", f"{failure.kind}: {failure.message}", remedy)
    said = "says a question is not its own, as it should" if failure else "answers"
    return Finding(subject, problem=f"{said}, {reply.seconds:.2f} s")
