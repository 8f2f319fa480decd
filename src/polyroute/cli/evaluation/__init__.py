"""`polyroute evaluate`: routers on recorded outcomes, or on logged traffic."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "routers": Entry(
            "polyroute.cli.evaluate", "Compare on an outcome table; the word may be left out."
        ),
        "off-policy": Entry(
            "polyroute.cli.evaluation.off_policy", "Estimate from what another policy logged."
        ),
    },
    line="Compare routers on recorded outcomes, or estimate them from logged traffic.",
    otherwise="routers",
)
