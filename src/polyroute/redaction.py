"""What looks like a secret does not leave in an error or a log line.

The one decision here: this is the second line. Who holds a secret hides it by its value; here goes
what nobody could know: an upstream that quotes a key, a URL with a password, a policy's own words.
A word too much is hidden rather than a key too little.
"""

import re

__all__ = ["redact"]

_HIDDEN = "[redacted]"

_SHAPES = re.compile(
    r"""
      (?P<start>\b(?:bearer|basic)\s+) [a-z0-9._~+/=-]{8,}
    | (?P<named>\b(?:api[-_ ]?key|access[-_ ]?token|auth[-_ ]?token|secret|password|passwd)
        ["']? \s* [:=] \s* ["']?) [^\s"',;}&]{4,}
    | (?P<scheme>[a-z][a-z0-9+.-]*://) [^\s/@:]*:[^\s/@]+@
    | \b(?:sk|pk|rk|pr|gsk|xai|hf|ghp|gho|ghs|glpat|xox[abprs]|csk|fw|r8|tvly|nvapi|eyj)
        [-_][a-z0-9_*.-]{6,}
    | \bAKIA[0-9A-Z]{12,}
    | \bAIza[\w-]{20,}
    | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Credentials by their usual prefixes, headers, names and places. A JSON web token begins eyJ."""


def redact(text: str) -> str:
    """Return `text` with everything that looks like a secret replaced.

    Examples
    --------
    >>> redact("Incorrect API key provided: sk-proj-abc123def456")
    'Incorrect API key provided: [redacted]'
    >>> redact("cannot reach postgres://app:hunter2@db/x, no answer from the risk-model")
    'cannot reach postgres://[redacted]@db/x, no answer from the risk-model'
    """
    return _SHAPES.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    kept = found["start"] or found["named"] or found["scheme"] or ""
    return f"{kept}{_HIDDEN}{'@' if found['scheme'] else ''}"
