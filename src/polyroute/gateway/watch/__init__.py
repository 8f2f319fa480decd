"""What a running server shows: metrics, spans, a log, and a page."""
