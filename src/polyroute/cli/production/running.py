"""How the instances of a server that runs are: as it says itself.

The one decision here: the server is asked, and not its instances. It knows which of them it sends
calls to, and why it does not; a probe of ours would only tell what they say to us.
"""

import json
import os
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from polyroute.cli.findings import Finding, Level
from polyroute.types import Json

__all__ = ["running"]

_PATIENCE_S = 20.0
"""The server may ask its instances first, each up to 10 s."""

_LONGEST = 4_000_000


def running(url: str, key_env: str | None = None) -> Iterator[Finding]:
    """Report how every instance of the server at `url` is.

    Parameters
    ----------
    url : str
        Where it is: ``http://127.0.0.1:8080``.
    key_env : str, optional
        Name of the environment variable with an administrator's key. Without one a server with
        keys says only how many instances are fit.
    """  # noqa: DOC501 - what is raised again is caught
    base = url.rstrip("/").removesuffix("/v1")
    if urlsplit(base).scheme not in ("http", "https"):
        remedy = "--server http://127.0.0.1:8080"
        yield Finding("server", "error", f"{url!r} is no address of a server", remedy)
        return
    key = "" if key_env is None else os.environ.get(key_env, "").strip()
    if key_env is not None and not key:
        problem = f"the environment variable {key_env} holds no key"
        yield Finding("server", "error", problem, f"export {key_env}=…")
        return
    try:
        try:
            said = _get(f"{base}/v1/watch/instances", key)
        except HTTPError as error:
            if error.code not in (401, 403, 404) or key:
                raise
            yield from _counted(_get(f"{base}/health", ""))
            return
        yield from _listed(said)
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        yield Finding("server", "error", f"{base}: {why}", "see that it runs, and its log")


def _get(url: str, key: str) -> Mapping[str, Json]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = Request(url, headers=headers)
    with urlopen(request, timeout=_PATIENCE_S) as answer:
        said = json.loads(answer.read(_LONGEST))
    if not isinstance(said, dict):
        raise ValueError("what it says is no answer of this gateway")
    return said


def _listed(said: Mapping[str, Json]) -> Iterator[Finding]:
    for card in said["cards"]:
        for one in card["instances"]:
            health, subject = one["health"], f"instance {card['card']} {one['instance']}".rstrip()
            if health is None:
                yield Finding(subject, problem="runs in the server's process")
            elif health["state"] == "closed":
                yield Finding(subject, problem=f"fit, {health['outstanding']} calls running")
            else:
                level: Level = "error" if health["state"] == "open" else "warning"
                state = health["state"].replace("_", " ")
                remedy = "see to that endpoint; calls go elsewhere meanwhile, if there is another"
                yield Finding(subject, level, f"{state}: {health['why']}".rstrip(": "), remedy)


def _counted(said: Mapping[str, Json]) -> Iterator[Finding]:
    instances = said.get("instances")
    for card, of in instances.items() if isinstance(instances, dict) else ():
        level: Level = "ok" if of["fit"] == of["of"] else "warning" if of["fit"] else "error"
        remedy = "" if level == "ok" else "--key-env NAME, with an administrator's key, says why"
        yield Finding(f"instances {card}", level, f"{of['fit']} of {of['of']} are fit", remedy)
