"""`polyroute policies`: every registered policy, placed in the taxonomy of the field."""

import inspect

from polyroute.cli.console import note, table, warn, write_json, write_table
from polyroute.cli.lazy import command
from polyroute.cli.options import AsJson
from polyroute.config import SHIPPED, why_not
from polyroute.errors import ConfigError
from polyroute.registry import load, names
from polyroute.types import Json

__all__ = ["app", "policies"]

app = command()


@app.command()
def policies(as_json: AsJson = False) -> None:
    """List the registered policies: when each decides, from what, how, and what it does.

    A policy is named in a configuration ('policy', 'policies') or by --policy.
    """
    found = [said for name in names("policies") if (said := _about(name)) is not None]
    if as_json:
        write_json(found)
        return
    rows = table("policy", "when", "what", "how", "does")
    for said in found:
        papers = f" [{said['paper']}]" if said["paper"] else ""
        what = ", ".join(said["what"]) or "-"
        rows.add_row(said["name"], said["when"], what, said["how"], f"{said['does']}{papers}")
    write_table(rows)
    for name, folder in SHIPPED.items():
        there = f"{name}: a trained router_r1 that comes with polyroute; ask --policy {name}"
        note(there if folder.is_dir() else why_not(name) or "")


def _about(name: str) -> dict[str, Json] | None:
    try:
        policy = load("policies", name)
    except ConfigError as error:
        warn(str(error))
        return None
    method = policy.method
    return {
        "name": name,
        "when": method.when,
        "what": list(method.what),
        "how": method.how,
        "does": (inspect.getdoc(policy) or "").partition("\n")[0],
        "paper": method.paper,
        "parameters": list(inspect.signature(policy).parameters),
    }
