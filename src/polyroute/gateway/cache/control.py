"""What a client says about remembered answers: ``Cache-Control`` of its request."""

import re
from dataclasses import dataclass

__all__ = ["Control"]

_SECONDS = re.compile(r'"?(\d{1,9})"?')


@dataclass(frozen=True, slots=True)
class Control:
    """The directives that mean something here, as of RFC 9111, section 5.2.1.

    Examples
    --------
    >>> Control.parse("max-age=60, No-Store, private")
    Control(fresh=False, store=False, max_age_s=60)
    """

    fresh: bool = False
    """``no-cache``: the answer must be a new one."""
    store: bool = True
    """Not ``no-store``: the answer may be remembered."""
    max_age_s: int | None = None
    """``max-age``: the answer may be so old."""

    @classmethod
    def parse(cls, text: str) -> "Control":
        """Read a header; what is unknown or malformed is passed over, as the standard says.

        A ``max-age`` that cannot be read is 0: who sent it wanted something newer.
        """
        fresh, store, max_age = False, True, None
        for part in text.lower().split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name == "no-cache":
                fresh = True
            elif name == "no-store":
                store = False
            elif name == "max-age":
                found = _SECONDS.fullmatch(value)
                max_age = min(int(found[1]) if found else 0, 10**9 if max_age is None else max_age)
        return cls(fresh, store, max_age)
