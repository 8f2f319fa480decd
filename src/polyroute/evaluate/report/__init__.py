"""A run as a reader sees it: one page that works offline, a Markdown summary, JSON, pictures."""

from polyroute.evaluate.report.write import write_report

__all__ = ["write_report"]
