"""`polyroute key`: clients' keys, what they allow and what they may spend."""

from polyroute.cli.lazy import Entry, group

__all__ = ["app"]

app = group(
    {
        "new": Entry("polyroute.cli.key.new", "Make a key and show it once."),
        "list": Entry("polyroute.cli.key.list", "List the keys and what they allow."),
        "revoke": Entry("polyroute.cli.key.revoke", "Revoke a key, by id or name."),
    },
    line="Make, list and revoke clients' keys.",
)
