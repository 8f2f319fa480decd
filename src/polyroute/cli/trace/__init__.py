"""`polyroute trace`: what happened, whether it was tampered with, whether it can be derived."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "list": Entry("polyroute.cli.trace.list", "List the newest records, one line each."),
        "show": Entry("polyroute.cli.trace.show", "Show one record round by round, with its bill."),
        "verify": Entry("polyroute.cli.trace.verify", "Find any changed, removed or moved record."),
        "replay": Entry("polyroute.cli.trace.replay", "Derive every decision again, offline."),
        "export": Entry("polyroute.cli.trace.export", "Write all records as JSON lines or CSV."),
        "purge": Entry("polyroute.cli.trace.purge", "Delete what records say, by age or user."),
    },
    line="List, show, verify, replay, export and purge records.",
)
