"""`polyroute pool`: the candidates, and the weights of those that run in process."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "list": Entry("polyroute.cli.pool.list", "List the candidates and what they cost."),
        "show": Entry("polyroute.cli.pool.show", "Show one candidate in full."),
        "add": Entry("polyroute.cli.pool.add", "Make a new model usable by a trained router."),
        "fetch": Entry("polyroute.cli.pool.fetch", "Fetch the weights of an embedded model."),
    },
    line="Show the candidates; add one to a trained router; fetch the weights of one.",
)
