"""One thread that lets the turns of many episodes share the steps of one model.

The one decision here: a turn joins and leaves between two steps. What others wrote is computed in
one go when a turn begins (only the part that is not in the cache); from then on every running
turn adds one token per step. Turns that wait to begin are gathered for a few steps, because a
step costs nearly the same for one row as for ten. Of turns that begin with the same text (the
samples of a group) one computes it, and the others begin a step later with a copy.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from polyroute.backends.transformers.cache import Rows
from polyroute.backends.transformers.extra import torch
from polyroute.backends.transformers.sampling import Sampler, choose
from polyroute.backends.transformers.session import Session

__all__ = ["Batch", "Turn"]

_GATHER_S = 0.002
"""An idle thread waits so long for calls that are made at the same time as the first."""

_PATIENCE = 4
"""Steps that a turn waits for others to begin with it, while others decode."""

_PREFILL_TOKENS = 4096
"""Prompt tokens computed at once, padding included; bounds the memory."""


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """One turn to be sampled."""

    session: Session
    sampler: Sampler
    limit: int
    """Tokens to sample, at most."""
    stop_ids: dict[int, str | None]
    """Ids that end the turn; the stop string of each, `None` for the model's end of text."""
    stop_texts: tuple[str, ...]
    """Stop strings that are several tokens."""
    reuse: bool
    """Whether the keys and values of earlier turns serve this one."""
    text: Callable[[list[int]], str]
    """Decodes ids."""
    done: Callable[["Turn"], None]
    """Called on the decoding thread when the turn has ended, however."""
    start: int = 0
    """Tokens of the session before this turn."""
    cached: int = 0
    """How many of them this session had in the cache."""
    raw: list[float] = field(default_factory=list)
    """Log-probabilities of what was sampled under the model's own distribution."""
    finish_reason: str | None = None
    stop: str | None = None
    """The stop string that ended it."""
    waited: int = 0
    cancelled: bool = False
    error: Exception | None = None

    @property
    def pending(self) -> list[int]:
        """Tokens whose keys and values are not computed yet."""
        return self.session.ids[self.session.cached :]

    @property
    def text_from_start(self) -> tuple[int, ...]:
        """All tokens it begins with, when none of them is computed and another's may serve."""
        whole = self.reuse and self.session.cached == 0 and self.start > 1
        return tuple(self.session.ids[: self.start]) if whole else ()

    def add(self, token: int, logprob: float, raw: float) -> None:
        """Take over a sampled token and see whether it ends the turn."""
        session = self.session
        session.ids.append(token)
        session.mask.append(True)
        session.logprobs.append(logprob)
        self.raw.append(raw)
        if token in self.stop_ids:
            self.finish_reason, self.stop = "stop", self.stop_ids[token]
        elif self.stop_texts and (stop := self._stop_in_tail()) is not None:
            self.finish_reason, self.stop = "stop", stop
        elif len(self.raw) >= self.limit:
            self.finish_reason = "length"

    def _stop_in_tail(self) -> str | None:
        """Look at the last tokens only: an earlier match would have ended the turn."""
        longest = max(len(stop.encode()) for stop in self.stop_texts)
        tail = self.text(self.session.ids[max(self.start, len(self.session.ids) - longest - 1) :])
        found = [stop for stop in self.stop_texts if stop in tail]
        return min(found, key=tail.index, default=None)


class Batch:
    """Runs turns.

    Parameters
    ----------
    model : PreTrainedModel
        A causal model, not in use by others while `lock` is held.
    parallel : int
        Turns that are decoded at once.
    """

    def __init__(self, model: Any, *, parallel: int) -> None:  # noqa: ANN401
        self.model = model
        self.lock = threading.Lock()
        """Held during every step; whoever holds it may change the model's weights."""
        self.steps = 0
        """Forward passes so far."""
        self.computed = 0
        """Tokens computed so far, padding not counted."""
        self.rows = Rows(model.config.get_text_config().num_hidden_layers)
        self._parallel = parallel
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._arriving: deque[Turn] = deque()
        self._leaving: deque[Session] = deque()
        self._stale = False
        self._switch = threading.Lock()
        self._awake = False
        self._waiting: list[Turn] = []
        self._beginners: list[Turn] = []
        self._decoding: list[Turn] = []
        self._begun: dict[tuple[int, ...], Session] = {}
        """Who has computed a text from its first token on, under the weights of now."""

    def submit(self, turn: Turn) -> None:
        """Have `turn` sampled."""
        self._arriving.append(turn)
        with self._switch:
            if not self._awake:
                self._awake = True
                self._thread.submit(self._run)

    def release(self, session: Session) -> None:
        """Free the row of a session that is over, before the next step."""
        self._leaving.append(session)

    def invalidate(self) -> None:
        """Compute all keys and values anew: the weights have changed."""
        self._stale = True

    def close(self) -> None:
        """End all turns, wait for the step that runs, and free the memory."""
        for turn in (*self._arriving, *self._waiting, *self._decoding):
            turn.cancelled = True
        self._thread.shutdown(wait=True)
        self.rows.clear()

    def _run(self) -> None:
        """Work until nothing is left to do."""
        time.sleep(_GATHER_S)
        while True:
            try:
                with self.lock, torch().inference_mode():
                    self._step()
            except Exception as error:  # noqa: BLE001 - the boundary: each turn raises it
                self._fail(error)
            with self._switch:
                if not (self._arriving or self._waiting or self._decoding):
                    self._awake = False
                    return

    def _step(self) -> None:
        self._take_in()
        training = self.model.training
        self.model.eval()
        if beginning := self._beginning():
            self._begin(beginning)
        if self._decoding:
            self._advance(list(self._decoding))
        if training:
            self.model.train()

    def _take_in(self) -> None:
        """Let turns come and go."""
        while self._arriving:
            turn = self._arriving.popleft()
            if not turn.reuse:
                self.rows.detach(turn.session)
            turn.start = len(turn.session.ids)
            # the last token is computed again, if need be: its logits are what is sampled from
            turn.session.cached = min(turn.session.cached, turn.start - 1)
            self._waiting.append(turn)
        if self._stale:
            self._stale = False
            self._begun.clear()
            # turns that are half way go on with what they have: they began under the old weights
            for session in self.rows.sessions[len(self._decoding) :]:
                session.cached = 0
        for turn in [turn for turn in self._decoding if turn.cancelled]:
            self._end(turn)
        for turn in [turn for turn in self._waiting if turn.cancelled]:
            self._waiting.remove(turn)
            self._finish(turn)
        leaving, self._leaving = self._leaving, deque()
        for session in leaving:
            if session.busy:  # its turn was cancelled a moment ago: at the next step
                self._leaving.append(session)
            else:
                self.rows.detach(session)

    def _beginning(self) -> list[Turn]:
        """Return the turns that begin in this step."""
        room = self._parallel - len(self._decoding)
        ready = self._waiting[:room]
        for turn in ready:
            turn.waited += 1
        enough = 4 * len(ready) >= len(self._decoding)
        if not ready or not (enough or any(turn.waited > _PATIENCE for turn in ready)):
            return []
        # one of those with the same text: the others copy from it, a step later
        texts: set[tuple[int, ...]] = set()
        widths: list[tuple[int, Turn]] = []
        for turn in ready:
            text = turn.text_from_start
            if text and self._same(text):
                widths.append((1, turn))
            elif text not in texts or not text:
                widths.append((len(turn.pending), turn))
                texts.add(text)
        # the turns with the most to compute first: turns of a like length share a pass
        widths.sort(key=lambda each: -each[0])
        return [turn for _, turn in widths[: max(1, _PREFILL_TOKENS // widths[0][0])]]

    def _same(self, text: tuple[int, ...]) -> Session | None:
        """Return a session that has computed `text`, and has it still."""
        found = self._begun.get(text)
        return found if found is not None and found.cached >= len(text) else None

    def _begin(self, turns: list[Turn]) -> None:
        for turn in turns:
            self._waiting.remove(turn)
            if turn.session.row is None:
                self._evict()
                self.rows.attach(turn.session)
            turn.cached = turn.session.cached
            if text := turn.text_from_start:
                self._know(text, turn.session)
        self._beginners = turns
        self._advance(turns)
        self._beginners = []

    def _know(self, text: tuple[int, ...], session: Session) -> None:
        """Copy what another session has computed of `text`, or have others copy from this one."""
        if (same := self._same(text)) is not None:
            # but for the last token: its logits are what is sampled from
            self.rows.copy(same, session, len(text) - 1)
            return
        if len(self._begun) > 4 * self._parallel:
            self._begun = {t: s for t, s in self._begun.items() if s.row is not None}
        self._begun[text] = session

    def _advance(self, turns: list[Turn]) -> None:
        """Compute the pending tokens of `turns` and sample one token for each."""
        places = [turn.session.row for turn in turns if turn.session.row is not None]
        logits = self._forward(places, [turn.pending for turn in turns])
        for turn in turns:
            turn.session.cached = len(turn.session.ids)
        self._join(turns)
        chosen = choose(logits, [turn.sampler for turn in turns])
        for turn, token, logprob, raw in zip(
            turns, chosen.ids, chosen.logprobs, chosen.raw, strict=True
        ):
            turn.add(token, logprob, raw)
        for turn in [turn for turn in turns if turn.finish_reason is not None]:
            self._end(turn)

    def _join(self, turns: list[Turn]) -> None:
        """Move the rows of turns that begin behind those that decode."""
        for turn in [turn for turn in turns if not turn.raw]:
            assert turn.session.row is not None
            self.rows.swap(turn.session.row, len(self._decoding))
            self._decoding.append(turn)

    def _forward(self, places: list[int], pending: list[list[int]]) -> Any:  # noqa: ANN401
        lib = torch()
        counts = [len(ids) for ids in pending]
        positions = self.rows.place(places, counts)
        width = max(counts)
        ids = lib.tensor([[0] * (width - len(row)) + row for row in pending])
        looks = lib.arange(self.rows.reads) <= positions[:, None, :, None]
        self.steps += 1
        self.computed += sum(counts)
        out = self.model(
            input_ids=ids,
            attention_mask=looks,
            position_ids=positions,
            past_key_values=self.rows,
            use_cache=True,
            logits_to_keep=lib.tensor([width - 1]),  # a slice has the head's weights copied per row
        )
        return out.logits[:, -1]

    def _end(self, turn: Turn) -> None:
        """Take a turn out of the rows that decode."""
        last = len(self._decoding) - 1
        assert turn.session.row is not None
        place = self._decoding.index(turn)
        self._decoding[place] = self._decoding[last]
        self._decoding.pop()
        self.rows.swap(turn.session.row, last)
        self._finish(turn)

    def _finish(self, turn: Turn) -> None:
        if turn.finish_reason is None:
            turn.session.cut(turn.start)
        else:
            turn.session.turns += 1
            turn.session.finish_reason = turn.finish_reason
        turn.done(turn)

    def _evict(self) -> None:
        """Free the row of the session that has been idle longest, when there are many."""
        idle = [session for session in self.rows.sessions if not session.busy]
        if len(self.rows.sessions) >= 2 * self._parallel and idle:
            self.rows.detach(min(idle, key=lambda session: session.used))

    def _fail(self, error: Exception) -> None:
        """End every turn with `error`; the cache may be half written."""
        turns = [*self._decoding, *self._beginners, *self._waiting]
        self._decoding, self._beginners, self._waiting = [], [], []
        self.rows.clear()
        for turn in turns:
            turn.error = error
            turn.finish_reason = None
            self._finish(turn)
