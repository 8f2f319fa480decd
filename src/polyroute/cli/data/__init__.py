"""`polyroute data`: outcome tables, collected, imported, described and divided."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "collect": Entry("polyroute.cli.data.collect", "Ask every card every question."),
        "import": Entry("polyroute.cli.data.import_", "Import a table from a format of others."),
        "from-records": Entry("polyroute.cli.data.from_records", "Make a table of the records."),
        "describe": Entry("polyroute.cli.data.describe", "Say who is good, dear, and needed."),
        "split": Entry("polyroute.cli.data.split", "Divide a table by question; name the leaks."),
    },
    line="Collect, import, describe and divide outcome tables.",
)
