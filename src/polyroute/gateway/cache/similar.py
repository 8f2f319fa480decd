"""Find a question that means the same, among those that differ in their last message only.

The one decision here: likeness is asked for only where nothing else differs (the tenant, the
policy, the parameters, every message before the last), and numbers, quotations and code in the
two must be the same: embeddings hardly see them.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from polyroute.errors import ConfigError, PolyrouteError
from polyroute.gateway.cache.category import Category
from polyroute.gateway.cache.entries import Entries
from polyroute.gateway.cache.key import Key, exact_parts
from polyroute.protocols import Encoder
from polyroute.signals.encoders.cached import Cached
from polyroute.sparse import Sparse

__all__ = ["Found", "Similar"]

_WIDEST = 4_096
"""Columns of an encoder that can be used here."""

_REMEMBERED = 512
"""Vectors that are not computed again: a question is looked for, and then remembered."""


@dataclass(frozen=True, slots=True)
class Found:
    """A question that is like the one asked."""

    exact: str
    """Where its answer is."""
    similarity: float
    """Cosine of the two."""


@dataclass(frozen=True, slots=True)
class _Question:
    exact: str
    category: str
    parts: str
    """Digest of what must be the same."""
    ends_at: float


class Similar:
    """The questions of each context, with their vectors.

    Parameters
    ----------
    encoder : Encoder
        Turns questions into vectors.
    entries : Entries
        Where they are held. Two processes that add to one context at the same moment may lose one
        of the two questions, which costs a call and nothing else.
    most : int
        Questions of a context; the newest are kept.

    Raises
    ------
    ConfigError
        If the encoder cannot be used as it is, or its rows are too wide.
    """

    def __init__(self, encoder: Encoder, entries: Entries, *, most: int) -> None:
        self._encoder = Cached(encoder=encoder, most_rows=_REMEMBERED)
        self._entries = entries
        self._most = most
        try:
            width = self._encoder.encode(["a question"]).shape[1]
        except PolyrouteError as error:
            raise ConfigError(f"cache.semantic.encoder: {error}") from error
        if width > _WIDEST:
            raise ConfigError(
                f"cache.semantic.encoder: its rows have {width} columns, at most {_WIDEST} can be "
                "used; use an embedding of texts, such as minilm, static or remote"
            )
        self._width = width

    async def find(self, key: Key, category: Category, now: float) -> Iterator[Found]:
        """Return the questions that count as the same as that of `key`, the likest first."""
        if key.text is None or category.threshold is None:
            return iter(())
        questions, vectors_ND = await self._read(key.context)
        parts = _parts(key.text)
        usable = [
            k
            for k, one in enumerate(questions)
            if one.category == category.name and one.parts == parts and one.ends_at > now
        ]
        if not usable:
            return iter(())
        cosine_N = vectors_ND[usable].astype(np.float32) @ await self._vector(key.text)
        order = np.argsort(-cosine_N, kind="stable")
        least = category.threshold
        return (
            Found(questions[usable[k]].exact, round(float(cosine_N[k]), 4))
            for k in order
            if cosine_N[k] >= least
        )

    async def add(self, key: Key, category: Category, now: float) -> None:
        """Remember the question of `key`."""
        if key.text is None or category.threshold is None:
            return
        vector = await self._vector(key.text)
        if not vector.any():
            return
        questions, vectors_ND = await self._read(key.context)
        keep = [
            k for k, one in enumerate(questions) if one.ends_at > now and one.exact != key.exact
        ][-(self._most - 1) :]
        keep = keep if self._most > 1 else []
        ends_at = now + category.seconds
        kept = [questions[k] for k in keep]
        kept.append(_Question(key.exact, category.name, _parts(key.text), ends_at))
        stacked = np.vstack([vectors_ND[keep], vector[None, :].astype(np.float16)])
        wire = orjson.dumps([asdict(one) for one in kept]) + b"\n" + stacked.tobytes()
        lasts = max(one.ends_at for one in kept) - now
        await self._entries.put(_place(key.context), wire, ttl_s=lasts)

    async def _read(self, context: str) -> tuple[list[_Question], NDArray[np.float16]]:
        nothing = np.zeros((0, self._width), np.float16)
        stored = await self._entries.get(_place(context))
        if stored is None:
            return [], nothing
        said, _, raw = stored.partition(b"\n")
        questions = [_Question(**one) for one in orjson.loads(said)]
        vectors = np.frombuffer(raw, np.float16)
        if vectors.size != len(questions) * self._width:  # another encoder wrote it
            return [], nothing
        return questions, vectors.reshape(len(questions), self._width)

    async def _vector(self, text: str) -> NDArray[np.float32]:
        """Return the vector of `text`, of length 1 (0 when it has no direction)."""
        row = await asyncio.to_thread(self._encoder.encode, [text])
        vector = np.zeros(self._width, np.float32)
        if isinstance(row, Sparse):
            vector[row.columns] = row.values
        else:
            vector[:] = row[0]
        length = float(np.linalg.norm(vector))
        return vector / length if length > 0 else vector


def _place(context: str) -> str:
    return f"cache/like/{context}"


def _parts(text: str) -> str:
    joined = "\0".join(exact_parts(text)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()[:32]
