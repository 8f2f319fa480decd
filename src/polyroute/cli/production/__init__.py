"""What is not ready for production, each with its remedy: `polyroute doctor --production`.

The one decision here: nothing is called and nothing is guessed. What is said follows from the
configuration, the environment and the files as they are; what only a call can tell, `doctor` tells.
"""

from pathlib import Path

from polyroute.cli.findings import Finding
from polyroute.cli.production import kept, money, reach, upstreams
from polyroute.cli.production.check import Check
from polyroute.config import Settings

__all__ = ["CHECKS", "unready"]

CHECKS: tuple[Check, ...] = (*reach.CHECKS, *money.CHECKS, *upstreams.CHECKS, *kept.CHECKS)
"""All that is looked at, in the order in which it is told."""


def unready(settings: Settings, file: Path | None) -> list[Finding]:
    """Return what was looked at: what is not ready first, the worst before the rest.

    Parameters
    ----------
    settings : Settings
        The configuration.
    file : path or None
        Where it comes from; `None` for the built-in one.
    """
    found: list[Finding] = []
    for check in CHECKS:
        here = list(check.look(settings, file))
        found += here or [Finding(check.subject, problem=check.well)]
    order = {"error": 0, "warning": 1, "ok": 2}
    return sorted(found, key=lambda one: order[one.level])
