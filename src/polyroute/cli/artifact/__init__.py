"""`polyroute artifact`: what a trained router is, whether it is whole, and how it did."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "show": Entry("polyroute.cli.artifact.show", "Show what a trained router is made of."),
        "verify": Entry("polyroute.cli.artifact.verify", "Check every byte, and that it loads."),
        "export": Entry("polyroute.cli.artifact.export", "Write a router for llama.cpp."),
        "card": Entry("polyroute.cli.artifact.card", "Write its evaluation card, in Markdown."),
    },
    line="Show, verify and describe trained routers.",
)
