"""A backend that answers from an outcome table: real recorded answers, no network, no price.

The one decision here: a recording is given back as it is or not at all. An answer is never cut to
fit a token limit, taken from another model, or taken from a question that is less alike than the
caller said it may be.
"""

import difflib
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from polyroute.decision import Call, Failure
from polyroute.errors import BackendError, ConfigError
from polyroute.ledger import prompt_bound
from polyroute.outcomes import OutcomeTable, read_outcomes
from polyroute.pool import ModelCard
from polyroute.protocols import Emit
from polyroute.trace import Reply, Trace
from polyroute.types import Usage

__all__ = ["Replay", "TextIndex"]


class Replay:
    """Answer a call with what `call.model` said to the same question when it was recorded.

    The question is the call's prompt, or the request's last user message. It is looked for in the
    table by its text with white space squeezed; when it is not there, the most similar question
    that the model has answered is taken, if `nearest` allows one that far (see `TextIndex`).
    `Reply.similarity` is 1 for the same question. A model of the table is the card whose id, or
    one of whose aliases, is exactly its name.

    When there are several samples of an answer, the call's ``seed`` (without one, the request's
    seed) chooses: sample number *seed modulo how many there are*, so that calls with consecutive
    seeds get different samples for as long as there are any.
    Of a table with one sample, every repetition gets the same text.

    Usage, price and seconds are the recorded ones; where the table has no price, the loop prices
    the usage by the card. Where it has no text, the answer somebody extracted (``pred``) stands
    for it; where it has neither, the reply is a failure that costs what was recorded.
    `Reply.fields` names the recording: ``{"recording": {"query_id": …, "sample": …}}``.

    Parameters
    ----------
    table : str
        An outcome table, as `polyroute.outcomes.read_outcomes` takes it.
    nearest : float, optional
        Least similarity, 0 to 1, at which another question's answer will do; without it, only the
        same question. Whether a similar question has the same answer is for the reader to judge.
    sample : int, optional
        Always give this sample, whatever the seed.

    Raises
    ------
    ConfigError
        If the table cannot be read, or `nearest` is not from 0 to 1.
    """

    def __init__(
        self, *, table: str, nearest: float | None = None, sample: int | None = None
    ) -> None:
        self._load(read_outcomes(table), nearest, sample)

    @classmethod
    def of(
        cls, table: OutcomeTable, *, nearest: float | None = None, sample: int | None = None
    ) -> Self:
        """Return the backend of a table that is in memory already; see the class."""
        replay = cls.__new__(cls)
        replay._load(table, nearest, sample)
        return replay

    def _load(self, table: OutcomeTable, nearest: float | None, sample: int | None) -> None:
        if nearest is not None and not 0 <= nearest <= 1:
            raise ConfigError(f"replay: nearest must be from 0 to 1, got {nearest!r}")
        self._table = table
        self._texts = table.texts
        self._nearest = nearest
        self._sample = sample
        self._rows = _rows_by_model_and_question(table)
        self._questions: dict[str, list[int]] = {}
        for n, question in enumerate(table.queries):
            self._questions.setdefault(_squeezed(question.prompt), []).append(n)
        self._index: TextIndex | None = None
        if nearest is not None:
            self._index = TextIndex([question.prompt for question in table.queries])

    async def complete(self, call: Call, trace: Trace, emit: Emit | None = None) -> Reply:
        """Return the recorded answer; see the class.

        Raises
        ------
        BackendError
            If the table does not have the model or (near enough) the question, or if what was
            recorded is more than the call may cost: budgets are hard for recordings too.
        """
        card = trace.pool.card(call.model)
        if call.prefix:
            raise BackendError(
                f"a recording cannot go on from the beginning of a turn of {card.id!r}; ask the "
                "model itself",
                kind="bad_request",
            )
        rows = self._rows[self._name_in_table(card)]
        prompt = call.prompt if call.prompt is not None else trace.request.prompt
        question, similarity = self._question(prompt, rows, card)
        row = self._choose(rows[question], call, trace)
        reply = self._reply(row, call, similarity)
        _refuse_what_is_too_dear(reply, call, card, trace)
        return reply

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _name_in_table(self, card: ModelCard) -> str:
        for name in (card.id, *card.aliases):
            if name in self._rows:
                return name
        near = difflib.get_close_matches(card.id, self._rows, n=3, cutoff=0.4)
        hint = f"; near: {', '.join(map(repr, near))}" if near else ""
        raise BackendError(
            f"the outcome table has no model {card.id!r} ({len(self._rows)} others{hint}); give "
            "the card an alias that is the table's name"
        )

    def _question(
        self, prompt: str, rows: dict[int, list[int]], card: ModelCard
    ) -> tuple[int, float]:
        """Return the question to answer from, and how similar it is."""
        for question in self._questions.get(_squeezed(prompt), ()):
            if question in rows:
                return question, 1.0
        if self._index is None or self._nearest is None:
            raise BackendError(
                f"the outcome table has no answer of {card.id!r} to this very question; set "
                "'nearest' to take that of a similar one"
            )
        answered = np.fromiter(rows, np.int64, len(rows))
        similarity = self._index.similarities(prompt)[answered]
        best = int(np.argmax(similarity))
        if similarity[best] < self._nearest:
            raise BackendError(
                f"the nearest question that {card.id!r} has answered has similarity "
                f"{similarity[best]:.2f}, and {self._nearest:g} is wanted"
            )
        return int(answered[best]), float(similarity[best])

    def _choose(self, rows: list[int], call: Call, trace: Trace) -> int:
        """Return the row of the sample that the seed chooses; rows are in order of sample."""
        if self._sample is not None:
            samples = [int(self._table.responses.sample[row]) for row in rows]
            if self._sample not in samples:
                raise BackendError(f"no sample {self._sample} was recorded, only {samples}")
            return rows[samples.index(self._sample)]
        seed = call.merged_params(trace.request).get("seed")
        return rows[(seed if isinstance(seed, int) else trace.request.seed) % len(rows)]

    def _reply(self, row: int, call: Call, similarity: float) -> Reply:
        recorded = self._table.responses
        prompt, completion = int(recorded.prompt_tokens[row]), int(recorded.completion_tokens[row])
        latency_s = float(recorded.latency_s[row])
        text = self._texts[row]
        lost = Failure("invalid_reply", "the outcome table has no text of this answer")
        return Reply(
            model=call.model,
            text=text or "",
            usage=None if min(prompt, completion) < 0 else Usage(prompt, completion),
            usd=recorded.usd(row),
            seconds=0.0 if np.isnan(latency_s) else latency_s,
            failure=lost if text is None else None,
            finish_reason=None if text is None else "stop",
            similarity=similarity,
            fields={
                "recording": {
                    "query_id": self._table.queries[recorded.query[row]].query_id,
                    "sample": int(recorded.sample[row]),
                }
            },
        )


class TextIndex:
    """How alike a text is to each of many: cosine of TF-IDF vectors of character trigrams.

    Trigrams of the lower-cased text with white space squeezed and one space at both ends; weight
    ``(1 + ln count) * (1 + ln((1 + N) / (1 + df)))``, every vector of length one. It sees spelling,
    not meaning: "not" changes it little. Built once, in numpy.

    Parameters
    ----------
    texts : sequence of str, length N

    Examples
    --------
    >>> index = TextIndex(["capital of France?", "height of Everest?"])
    >>> index.similarities("the capital of France").round(2)
    array([0.71, 0.05])
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        grams, documents = _trigrams(texts)
        self._grams, terms = np.unique(grams, return_inverse=True)
        pairs, counts = np.unique(terms * max(self._size, 1) + documents, return_counts=True)
        terms, self._documents = np.divmod(pairs, max(self._size, 1))
        frequency = np.bincount(terms, minlength=len(self._grams))
        self._idf = 1 + np.log((1 + self._size) / (1 + frequency))
        weights = (1 + np.log(counts)) * self._idf[terms]
        norms = np.sqrt(np.bincount(self._documents, weights**2, minlength=self._size))
        self._weights = weights / norms[self._documents]
        self._starts = np.concatenate(([0], np.cumsum(frequency)))

    def similarities(self, text: str) -> NDArray[np.float64]:
        """Return the similarity of `text` to every text of the index, shape (N,), 0 to 1."""
        grams, counts = np.unique(_trigrams([text])[0], return_counts=True)
        places = np.searchsorted(self._grams, grams)
        known = places < len(self._grams)
        known[known] = self._grams[places[known]] == grams[known]
        idf = np.full(len(grams), 1 + np.log(1 + self._size))  # a gram in no text: df = 0
        idf[known] = self._idf[places[known]]
        weights = (1 + np.log(counts)) * idf
        weights /= np.sqrt((weights**2).sum())
        total = np.zeros(self._size)
        for place, weight in zip(places[known], weights[known], strict=True):
            here = slice(self._starts[place], self._starts[place + 1])
            total[self._documents[here]] += weight * self._weights[here]
        return np.minimum(total, 1.0)


def _trigrams(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return all trigrams, each packed into one integer, and the text that each is in."""
    padded = [f" {_squeezed(text).lower()} " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "replace"), np.uint32)
    codes = codes.astype(np.uint64)
    owner = np.repeat(np.arange(len(padded)), [len(text) for text in padded])
    if len(codes) < 3:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    # a code point has at most 21 bits, so three fit without a collision
    grams = codes[:-2] << np.uint64(42) | codes[1:-1] << np.uint64(21) | codes[2:]
    inside = owner[:-2] == owner[2:]
    return grams[inside], owner[:-2][inside]


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _rows_by_model_and_question(table: OutcomeTable) -> dict[str, dict[int, list[int]]]:
    """Return for each model and question the rows of its samples, in order of sample."""
    found: dict[str, dict[int, list[int]]] = {name: {} for name in table.models}
    columns = table.responses
    for row in np.lexsort((columns.sample, columns.query)).tolist():
        of_model = found[table.models[columns.model[row]]]
        of_model.setdefault(int(columns.query[row]), []).append(row)
    return found


def _refuse_what_is_too_dear(reply: Reply, call: Call, card: ModelCard, trace: Trace) -> None:
    """Refuse a recording above the worst case for which the loop has set money aside.

    The loop reserves by the card and the call's token limit before it calls; a recording that
    exceeds that would break a hard budget after the fact.

    Raises
    ------
    BackendError
        If it does.
    """
    usage = reply.usage or Usage()
    params = call.merged_params(trace.request)
    limits = [params.get(key) for key in ("max_tokens", "max_completion_tokens")]
    limits += [card.max_output, card.context]
    limit = min((limit for limit in limits if isinstance(limit, int)), default=None)
    if limit is not None and usage.completion > limit:
        raise BackendError(
            f"the recorded answer of {card.id!r} has {usage.completion} tokens, and this call "
            f"allows {limit}"
        )
    budget = trace.request.budget
    if budget.usd is None and budget.tokens is None:
        return
    bound = prompt_bound(call.messages(trace.request), params)
    if card.kind == "tool":
        bound = limit = 0
    if usage.prompt > bound:
        raise BackendError(
            f"the recorded prompt of {card.id!r} has {usage.prompt} tokens, more than this one "
            f"can have ({bound}): it was asked with more around it, and the budget cannot hold"
        )
    if budget.usd is None or reply.usd is None or card.price is None or limit is None:
        return
    worst = card.price.cost(Usage(input=bound, output=limit))
    if reply.usd > worst:
        raise BackendError(
            f"the recorded answer of {card.id!r} cost {reply.usd:f} usd, above the {worst:f} that "
            "its card's price allows this call; give the card the recorded price"
        )
