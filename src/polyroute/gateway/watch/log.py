"""A line of JSON per request, for the machines that read logs.

The one decision here: it has no texts and no keys. What was asked and answered is in the record
that the line's trace id names, for those who may read it.
"""

import logging
from datetime import UTC, datetime

import orjson

from polyroute.gateway.watch.account import Account

__all__ = ["LOGGER", "RequestLog"]

LOGGER = "polyroute.requests"
"""Name of the logger; its messages are whole lines already."""

_log = logging.getLogger(LOGGER)


class RequestLog:
    """Logs requests."""

    def ended(self, account: Account) -> None:
        """Log one."""
        outcome = account.outcome
        line = {
            "time": datetime.fromtimestamp(account.began, UTC).isoformat(),
            "event": "request",
            "trace_id": account.id,
            "key": account.caller.id,
            "tenant": account.caller.tenant,
            "policy": account.policy,
            "ending": account.ending,
            "status": 200 if outcome is None or outcome.error is None else outcome.error.status,
            "stream": account.asked.stream,
            "remembered": account.remembered,
            "seconds": round(account.seconds, 6),
            "rounds": account.rounds,
            "usd": f"{account.usd:f}",
            "unknown_prices": account.unknown,
            "calls": [
                {
                    "card": called.card,
                    "own": called.own,
                    "seconds": round(called.reply.seconds, 6),
                    "failure": called.reply.failure and called.reply.failure.kind,
                }
                for called in account.called
            ],
            "fallback": outcome and outcome.fallback and outcome.fallback.card,
            "recorded": outcome is None or outcome.recorded,
        }
        _log.info("%s", orjson.dumps(line).decode())
