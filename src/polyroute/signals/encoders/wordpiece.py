"""Texts as the token numbers of BERT's uncased WordPiece vocabulary.

The one decision here: a long text is cut before it is tokenised, by characters, and after it, by
tokens, keeping both ends each time, so that no prompt makes a decision slow. Plain ASCII, where
the rules are few, is looked up here, several times faster than by the general tokenizer, which
reads everything else; a test compares the two.
"""

import re
from functools import cache, lru_cache
from typing import Any, Final

from polyroute.errors import MissingExtraError
from polyroute.signals.encoders.grams import bounded
from polyroute.signals.encoders.weights import locate

__all__ = ["CLS", "SEP", "UNKNOWN", "VOCABULARY", "pieces"]

UNKNOWN = 100
"""Stands for a word that the vocabulary cannot spell, or one that is too long."""
CLS = 101
"""Begins a sequence."""
SEP = 102
"""Ends a sequence."""
VOCABULARY = 30_522
"""Number of tokens; they stand roughly by falling frequency in the corpus."""

_LONGEST_WORD = 100
_SPACES = re.compile(r"[ \t\n\r]+")
_ASCII_WORD = re.compile(r"[a-z0-9]+|[^ a-z0-9]")
_CLEAN: Final = {
    **dict.fromkeys((*range(32), 127)),
    **{ord(space): " " for space in "\t\n\r"},
}
"""Control characters are dropped, white space is a space."""


def pieces(text: str, *, most_characters: int | None, most_tokens: int | None = None) -> list[int]:
    """Return the token numbers of `text`, without those that begin and end a sequence.

    What looks like a special token (``"[SEP]"``) is read as the characters it is made of.

    Parameters
    ----------
    text : str
    most_characters : int or None
        Read the beginning and end of a longer text.
    most_tokens : int, optional
        Keep the first and last halves of more tokens.

    Raises
    ------
    MissingExtraError
        If the package tokenizers, or the weights that bring the vocabulary, are not installed.
    """
    text = bounded(text, most_characters)
    numbers = _of_ascii(text) if text.isascii() else _of_mixed(text)
    if most_tokens is None or len(numbers) <= most_tokens:
        return numbers
    half = most_tokens // 2
    return numbers[: most_tokens - half] + numbers[len(numbers) - half :]


def _of_mixed(text: str) -> list[int]:
    """Read what lies between spaces by itself: a dash or a quote slows nothing else down."""
    numbers: list[int] = []
    for chunk in _SPACES.split(text):
        numbers.extend(_of_ascii(chunk) if chunk.isascii() else _of_any(chunk))
    return numbers


@lru_cache(maxsize=16_384)
def _of_any(chunk: str) -> tuple[int, ...]:
    return tuple(_tokenizer().encode(chunk, add_special_tokens=False).ids)


def _of_ascii(text: str) -> list[int]:
    vocabulary = _vocabulary()
    numbers: list[int] = []
    for word in _ASCII_WORD.findall(text.lower().translate(_CLEAN)):
        number = vocabulary.get(word)
        if number is None:
            numbers.extend(_spelled(word))
        else:
            numbers.append(number)
    return numbers


@lru_cache(maxsize=65_536)
def _spelled(word: str) -> tuple[int, ...]:
    """Spell a word in pieces, each the longest that fits (Schuster and Nakajima 2012; BERT)."""
    if len(word) > _LONGEST_WORD:
        return (UNKNOWN,)
    vocabulary, found, start = _vocabulary(), [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            number = vocabulary.get(prefix + word[start:end])
            if number is not None:
                break
        else:
            return (UNKNOWN,)
        found.append(number)
        start = end
    return tuple(found)


@cache
def _vocabulary() -> dict[str, int]:
    vocabulary: dict[str, int] = _tokenizer().get_vocab()
    return vocabulary


@cache
def _tokenizer() -> Any:  # noqa: ANN401 - an optional package without annotations
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError(
            "tokenizers is needed; run: pip install 'polyroute[embed]'"
        ) from error
    tokenizer = Tokenizer.from_file(str(locate("tokenizer.json")))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer
