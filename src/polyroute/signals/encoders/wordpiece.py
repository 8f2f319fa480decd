"""Texts as the token numbers of BERT's uncased WordPiece vocabulary.

The one decision here: a long text is cut before it is tokenised, by characters, and after it, by
tokens, keeping both ends each time, so that no prompt makes a decision slow.
"""

from functools import cache
from typing import Any

from polyroute.errors import MissingExtraError
from polyroute.signals.encoders.grams import bounded
from polyroute.signals.encoders.weights import locate

__all__ = ["CLS", "SEP", "VOCABULARY", "pieces"]

CLS = 101
"""Begins a sequence."""
SEP = 102
"""Ends a sequence."""
VOCABULARY = 30_522
"""Number of tokens; they stand roughly by falling frequency in the corpus."""


def pieces(text: str, *, most_characters: int, most_tokens: int | None = None) -> list[int]:
    """Return the token numbers of `text`, without those that begin and end a sequence.

    Parameters
    ----------
    text : str
    most_characters : int
        Read the beginning and end of a longer text.
    most_tokens : int, optional
        Keep the first and last halves of more tokens.

    Raises
    ------
    MissingExtraError
        If the package tokenizers, or the weights that bring the vocabulary, are not installed.
    """
    numbers: list[int] = (
        _tokenizer().encode(bounded(text, most_characters), add_special_tokens=False).ids
    )
    if most_tokens is None or len(numbers) <= most_tokens:
        return numbers
    half = most_tokens // 2
    return numbers[: most_tokens - half] + numbers[len(numbers) - half :]


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
    return tokenizer
