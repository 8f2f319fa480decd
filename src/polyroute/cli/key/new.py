"""`polyroute key new`: make a key and show it once."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, TypeAlias

import typer

from polyroute.cli.console import note, write_json, write_line
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile, days, usd
from polyroute.config import Settings, cards_of, read
from polyroute.errors import ConfigError
from polyroute.gateway.access.audit import audit_log, operator
from polyroute.gateway.access.keys import SCOPES, AccessKey, Scope, digest, generate, key_file

__all__ = ["app", "new"]

app = command()

_Dollars: TypeAlias = Decimal | None

_USUAL: frozenset[Scope] = frozenset({"ask", "feedback"})


@app.command()
def new(  # noqa: PLR0913 - one option per field of a key
    name: Annotated[str, typer.Option(help="For people: who holds it.")],
    *,
    tenant: Annotated[str, typer.Option(help="Whose it is; tenants never see each other.")] = (
        "default"
    ),
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What it may use ({', '.join(SCOPES)}); repeat.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="A policy it may ask for; all if missing.")
    ] = None,
    card: Annotated[
        list[str] | None, typer.Option(help="A card that may be asked for it; all if missing.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    usd_per_day: Annotated[_Dollars, typer.Option(parser=usd, metavar="USD")] = None,
    usd_per_month: Annotated[_Dollars, typer.Option(parser=usd, metavar="USD")] = None,
    usd_per_request: Annotated[_Dollars, typer.Option(parser=usd, metavar="USD")] = None,
    expires: Annotated[
        timedelta | None,
        typer.Option(parser=days, metavar="DAYS", help="Days until it expires, such as 90d."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, add its hash to the file of keys, and show the key: once, and never again.

    A running server knows it within a second. Without --scope it may ask and give feedback.
    """
    settings = read(config)
    scopes = _scopes(scope or ())
    _check(settings, policy or [], card or [])
    secret = generate()
    sha256 = digest(secret.encode()).hex()
    now = datetime.now(UTC)
    key = AccessKey(
        id=sha256[:12],
        sha256=sha256,
        name=name,
        tenant=tenant,
        scopes=scopes,
        policies=frozenset(policy) if policy else None,
        cards=frozenset(card) if card else None,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        usd_per_day=usd_per_day,
        usd_per_month=usd_per_month,
        usd_per_request=usd_per_request,
        created_at=now,
        expires_at=None if expires is None else now + expires,
    )
    file = key_file(settings)
    file.add(key)
    audit_log(settings).note(operator(), "key.new", key=key.id, name=name)
    if as_json:
        write_json({"key": secret, "id": key.id, "file": str(file.path)})
    else:
        write_line(secret)
        note(f"key {key.id} is in {file.path}; it is shown this once only")


def _scopes(named: Collection[str]) -> frozenset[Scope]:
    """Return the scopes of those names; the usual two of none."""
    for name in named:
        if name not in SCOPES:
            raise ConfigError(f"--scope {name!r} is unknown; known: {', '.join(SCOPES)}")
    return frozenset(scope for scope in SCOPES if scope in named) or _USUAL


def _check(settings: Settings, policies: list[str], cards: list[str]) -> None:
    """Refuse names that would allow nothing."""
    pool = cards_of(settings)
    for card in cards:
        pool.card(card)
    known = {"default", "fixed", *settings.policies}
    for policy in policies:
        if policy not in known:
            raise ConfigError(
                f"--policy {policy!r} is not configured; known: {', '.join(sorted(known))} "
                "('default' is what the model 'polyroute' stands for, 'fixed' single cards)"
            )
