"""`polyroute config`: write a configuration, or check one."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "init": Entry("polyroute.cli.config.init", "Write the default configuration, to edit."),
        "check": Entry("polyroute.cli.config.check", "Explain a configuration; name its mistakes."),
    },
    line="Write a configuration, or check one.",
)
