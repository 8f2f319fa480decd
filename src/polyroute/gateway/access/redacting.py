"""A filter of log records: what looks like a secret is not written."""

import logging

from polyroute.redaction import redact

__all__ = ["Redacting"]


class Redacting(logging.Filter):
    """Hides secrets in messages and in the texts of exceptions."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without its secrets."""
        said = record.getMessage()
        hidden = redact(said)
        if hidden != said:
            record.msg, record.args = hidden, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True
