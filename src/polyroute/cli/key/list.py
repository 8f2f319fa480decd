"""`polyroute key list`: the keys and what they allow."""

from datetime import UTC, datetime

from polyroute.cli.console import table, write_json, write_table
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson, ConfigFile
from polyroute.config import read
from polyroute.gateway.access.keys import AccessKey, key_file

__all__ = ["app", "list"]

app = command()


@app.command()
def list(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the keys, the oldest first; revoked and expired ones too."""
    keys = key_file(read(config)).read()
    if as_json:
        shown = [key.model_dump(mode="json", exclude={"sha256"}) for key in keys]
        write_json([{**wire, "scopes": sorted(wire["scopes"])} for wire in shown])
        return
    now = datetime.now(UTC)
    rows = table("id", "name", "tenant", "state", "scopes", "limits", "expires")
    for key in keys:
        rows.add_row(
            key.id,
            key.name,
            key.tenant,
            key.state(now),
            ",".join(sorted(key.scopes)),
            _limits(key) or "-",
            "-" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d}",
        )
    write_table(rows)


def _limits(key: AccessKey) -> str:
    counts = {"requests/min": key.requests_per_minute, "tokens/min": key.tokens_per_minute}
    dollars = {
        "day": key.usd_per_day,
        "month": key.usd_per_month,
        "request": key.usd_per_request,
    }
    listed = [f"{limit} {what}" for what, limit in counts.items() if limit is not None]
    listed += [f"${limit:f}/{what}" for what, limit in dollars.items() if limit is not None]
    return ", ".join(listed)
