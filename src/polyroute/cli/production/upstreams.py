"""Where models run, and what happens when one of those places is gone."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from polyroute.cli.findings import Finding, Level
from polyroute.cli.production.check import Check, Found, backends, is_local
from polyroute.config import Settings
from polyroute.types import Json

__all__ = ["CHECKS"]

_PLAY = ("scripted", "replay")
"""Backends for tests and lessons."""


def _instances(settings: Settings, _: Path | None) -> Found:
    for place, spec in backends(settings):
        found = list(_listed(spec))
        if spec.get("name") in _PLAY:
            problem = f"{spec['name']!r} makes its replies up"
            yield Finding(place, "error", problem, "take the card out, or give it a model")
        if len(found) == 1:
            problem = "a single instance: when it is gone, so is the model"
            remedy = "list a second one under instances, or name another model in fallbacks"
            if not _has_fallback(settings, place):
                yield Finding(place, "warning", problem, remedy)


def _health(settings: Settings, _: Path | None) -> Found:
    for place, spec in backends(settings):
        health = spec.get("health")
        probed = isinstance(health, Mapping) and health.get("probe_s") is not None
        if len(list(_listed(spec))) > 1 and not probed:
            problem = "an instance that is down is found out by a request"
            yield Finding(place, "warning", problem, "health: {probe_s: 10}")


def _secrecy(settings: Settings, _: Path | None) -> Found:
    for place, spec in backends(settings):
        for instance in _listed(spec):
            url = urlsplit(str(instance.get("url", "")))
            if url.scheme != "http" or _is_inside(url.hostname or ""):
                continue
            what = "keys and prompts" if instance.get("key_env") else "prompts"
            level: Level = "error" if instance.get("key_env") else "warning"
            problem = f"{what} go to {url.hostname} in the clear"
            yield Finding(place, level, problem, "https://, or a network of your own")


def _listed(spec: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    instances = spec.get("instances")
    for instance in instances if isinstance(instances, (list, tuple)) else ():
        if isinstance(instance, Mapping):
            yield instance


def _has_fallback(settings: Settings, place: str) -> bool:
    family, _, id = place.partition(".")
    return family == "pool" and id in settings.fallbacks


def _is_inside(host: str) -> bool:
    """Whether `host` is this machine, a private address, or a name without a domain.

    Such a name (``gpu-1``, a service of Compose or Kubernetes) is known inside one network only.
    """
    if is_local(host) or "." not in host.rstrip("."):
        return ":" not in host or is_local(host) or ip_address(host).is_private
    try:
        return ip_address(host).is_private
    except ValueError:
        return host.endswith((".internal", ".local", ".svc", ".svc.cluster.local"))


CHECKS = (
    Check("instances", "every model has a second place, or another model for it", _instances),
    Check("health checks", "no request finds out what is down", _health),
    Check("way to the models", "encrypted, or inside", _secrecy),
)
"""What is looked at here."""
