"""A sentence encoder trained further until its embeddings tell the cards apart.

The one decision here: training may stop before it begins. A head over the untouched embeddings is
fitted first, the upper layers are then trained with it, and of all passes, the one before the first
included, the one is kept that did best on questions held out; where text says nothing, nothing is
changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from polyroute.errors import ConfigError, MissingExtraError
from polyroute.estimators._columns import check, fitted, inner, nested, place
from polyroute.estimators._latent import Span, sigmoid
from polyroute.estimators._minilm_layers import DEPTH, embedded, layer, mean, parameters_of
from polyroute.pool import Pool
from polyroute.protocols import FloatArray, Method, State
from polyroute.signals.encoders.minilm_graph import LONGEST, opened, reference
from polyroute.signals.encoders.weights import tensors
from polyroute.signals.encoders.wordpiece import CLS, SEP, pieces
from polyroute.types import Request

__all__ = ["EncoderTuning"]

_CHARACTERS_PER_TOKEN = 16
_HELD_OUT = 0.1
"""Share of the questions by which the pass to keep is chosen."""
_FEWEST = 40
"""With fewer questions none are held out, and the last pass is kept."""


class EncoderTuning:
    """All-MiniLM-L6-v2, its upper layers trained with one output per card.

    Parameters
    ----------
    layers : int, default=2
        Layers that are trained, counted from the top, 1 to 6; the state holds 7 MB for each.
    epochs : int, default=3
        Most passes over the questions, 0 or more; 0 trains the head alone.
    rate : float, default=5e-5
        Peak learning rate of AdamW for the layers; the head's is 20 times that.
    penalty : float, default=1.0
        Ridge of the head, in questions.
    batch : int, default=16
        Questions per step.
    most_tokens : int, default=128
        Read the beginning and end of a longer prompt, 3 to 512.
    seed : int, default=0
        Of the order of questions and of those held out.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    Notes
    -----
    Fitting needs torch, predicting onnxruntime and the weights' package; one text is run at a
    time, in single precision, so that a row does not depend on its company.

    References
    ----------
    Ong et al., *RouteLLM*, arXiv:2406.18665, section 4.2: a classifier that is BERT, fine-tuned in
    full on the outcomes of two models; Kumar et al., arXiv:2202.10054: the head first, the layers
    after it, so that what the layers know is not torn apart by a head that knows nothing.
    """

    method: ClassVar[Method] = Method(
        when="pre-generation",
        what=("query",),
        how="supervised",
        paper="RouteLLM (BERT classifier), Ong et al., arXiv:2406.18665",
    )

    def __init__(  # noqa: PLR0913 - hyper-parameters
        self,
        *,
        layers: int = 2,
        epochs: int = 3,
        rate: float = 5e-5,
        penalty: float = 1.0,
        batch: int = 16,
        most_tokens: int = 128,
        seed: int = 0,
    ) -> None:
        if not 1 <= layers <= DEPTH or not 3 <= most_tokens <= LONGEST:
            raise ConfigError(
                f"layers must be 1 to {DEPTH} and most_tokens 3 to {LONGEST}, got {layers!r} and "
                f"{most_tokens!r}"
            )
        if epochs < 0 or batch < 1 or not rate > 0 or not penalty > 0:
            raise ConfigError(
                "epochs must be 0 or more, batch 1 or more, rate and penalty above 0; got "
                f"{epochs!r}, {batch!r}, {rate!r} and {penalty!r}"
            )
        self._plan = _Plan(layers, epochs, rate, penalty, batch, seed)
        self._most_tokens = most_tokens
        self._ids: tuple[str, ...] | None = None
        self._span = Span(0.0, 1.0)
        self._head: dict[str, NDArray[Any]] = {}
        self._tuned: dict[str, NDArray[np.float32]] = {}
        self._session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the session, which another process opens for itself."""
        return {**self.__dict__, "_session": None}

    def fit(self, requests: Sequence[Request], target_NM: FloatArray, pool: Pool) -> Self:
        """Train the head, then the layers with it; return self.

        Raises
        ------
        ConfigError
            If the shapes do not fit, or nothing was observed at all.
        MissingExtraError
            If torch, or the weights, are not installed; the message has the command.
        """
        target_NM = check(requests, target_NM, pool)
        seen_M = np.flatnonzero(~np.isnan(target_NM).all(axis=0))
        self._span = Span.of(target_NM)
        texts = [self._tokens(request) for request in requests]
        truth_NM = self._span.unit(target_NM[:, seen_M])
        self._head, self._tuned = _Training(self._plan, texts, truth_NM).run()
        self._session = None
        self._ids = tuple(pool[int(m)].id for m in seen_M)
        return self

    def predict(self, requests: Sequence[Request], pool: Pool) -> FloatArray:
        """Return the expected number, shape (N, len(pool)); NaN for a card never observed.

        Raises
        ------
        NotFittedError
            Before `fit` or `restore`.
        MissingExtraError
            If onnxruntime, or the weights, are not installed.
        """
        ids = fitted(self._ids, self)
        if self._session is None:
            self._session = opened({**tensors(), **self._tuned})
        mean_ND = np.zeros((len(requests), len(self._head["centre"])))
        for row, request in enumerate(requests):
            tokens = np.array([self._tokens(request)], np.int64)
            mean_ND[row] = self._session.run(None, {"ids": tokens})[0][0]
        x_ND = _standard(mean_ND, self._head["centre"], self._head["scale"])
        logit_NM = x_ND @ self._head["weight"] + self._head["bias"]
        return place(self._span.target(sigmoid(logit_NM)), ids, pool)

    def state(self) -> State:
        """Return the head and the layers that were trained."""
        ids = fitted(self._ids, self)
        head, tuned = (State(arrays=arrays) for arrays in (self._head, self._tuned))
        return State(
            arrays={**nested("head", head), **nested("tuned", tuned)},
            values={
                "ids": list(ids),
                "span": [self._span.low, self._span.high],
                "weights_sha256": reference("fp32")["weights_sha256"],
            },
        )

    def restore(self, state: State) -> Self:
        """Take over what `state` returned, and return self.

        Raises
        ------
        ConfigError
            If it was trained from other weights than those of this version.
        """
        here = reference("fp32")["weights_sha256"]
        if state.values["weights_sha256"] != here:
            raise ConfigError(
                f"the state was trained from the weights {state.values['weights_sha256']}, and "
                f"this version has {here}; fit again"
            )
        self._head = dict(inner("head", state, {}).arrays)
        self._tuned = dict(inner("tuned", state, {}).arrays)
        self._span = Span(*state.values["span"])
        self._ids = tuple(state.values["ids"])
        self._session = None
        return self

    def _tokens(self, request: Request) -> list[int]:
        most = self._most_tokens
        kept = pieces(
            request.prompt, most_characters=most * _CHARACTERS_PER_TOKEN, most_tokens=most - 2
        )
        return [CLS, *kept, SEP]


def _standard(mean_ND: FloatArray, centre_D: FloatArray, scale: FloatArray) -> FloatArray:
    """Return means scaled to length 1, as the encoder is used, then centred and scaled."""
    unit_ND = mean_ND / np.linalg.norm(mean_ND, axis=1, keepdims=True)
    return np.asarray((unit_ND - centre_D) * scale)


@dataclass(frozen=True, slots=True)
class _Plan:
    layers: int
    epochs: int
    rate: float
    penalty: float
    batch: int
    seed: int


class _Training:
    """One fit: the questions as what enters the trained layers, computed once, and the weights."""

    def __init__(self, plan: _Plan, texts: list[list[int]], truth_NM: FloatArray) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError(
                "torch is needed; run: pip install 'polyroute[train]'"
            ) from error
        self._torch: Any = torch
        self._plan = plan
        self._numbers = range(DEPTH - plan.layers, DEPTH)
        base = {name: torch.tensor(array) for name, array in tensors().items()}
        self._weights: dict[str, Any] = base
        self._trained = [name for k in self._numbers for name in parameters_of(k, base)]
        self._truth = torch.tensor(np.nan_to_num(truth_NM), dtype=torch.float32)
        self._seen = torch.tensor(~np.isnan(truth_NM), dtype=torch.float32)
        self._rng = np.random.default_rng(plan.seed)
        self._order = np.argsort([len(tokens) for tokens in texts], kind="stable")
        self._entering = self._lower(texts)

    def run(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.float32]]]:
        """Return the head, and the trained layers (none when training them did not help)."""
        torch, plan = self._torch, self._plan
        count = len(self._entering)
        most = int(count * _HELD_OUT) if count >= _FEWEST else 0
        held = self._rng.permutation(count)[:most]
        fit_N = np.setdiff1d(np.arange(count), held)
        with torch.no_grad():
            unit_ND = torch.nn.functional.normalize(self._means(np.arange(count)))
        self._centre = unit_ND.mean(0)
        spread = float((unit_ND - self._centre).square().sum(1).mean().sqrt())
        self._scale = 1 / spread if spread > 1e-6 else 1.0
        self._start_head((unit_ND - self._centre) * self._scale, fit_N)
        best, kept = self._loss_of(held), self._copy(tuned=False)
        for epoch in range(plan.epochs):
            self._pass(epoch, fit_N)
            loss = self._loss_of(held)
            if not len(held) or loss < best:
                best, kept = loss, self._copy(tuned=True)
        return kept

    def _lower(self, texts: list[list[int]]) -> list[Any]:
        """Return what leaves the last layer that stays as it is, one (T, 384) per text."""
        torch = self._torch
        entering: list[Any] = [None] * len(texts)
        with torch.no_grad():
            for k in range(0, len(texts), self._plan.batch):
                rows = self._order[k : k + self._plan.batch]
                length = max(len(texts[n]) for n in rows)
                ids = torch.tensor([texts[n] + [0] * (length - len(texts[n])) for n in rows])
                mask = torch.tensor([[t < len(texts[n]) for t in range(length)] for n in rows])
                x_BTD = embedded(torch, self._weights, ids)
                for number in range(self._numbers.start):
                    x_BTD = layer(torch, self._weights, number, x_BTD, mask)
                for n, x_TD in zip(rows, x_BTD, strict=True):
                    entering[n] = x_TD[: len(texts[n])].to(torch.float16)
        return entering

    def _means(self, rows_N: NDArray[np.intp]) -> Any:  # noqa: ANN401 - a tensor
        """Return the mean of the last hidden states of some texts, in their order."""
        torch = self._torch
        parts = [self._entering[n].to(torch.float32) for n in rows_N]
        if len(parts) > self._plan.batch:
            order = sorted(range(len(parts)), key=lambda k: len(parts[k]))
            found = torch.empty(len(parts), parts[0].shape[1])
            for k in range(0, len(order), self._plan.batch):
                chosen = order[k : k + self._plan.batch]
                found[chosen] = self._upper([parts[j] for j in chosen])
            return found
        return self._upper(parts)

    def _upper(self, parts: list[Any]) -> Any:  # noqa: ANN401 - a tensor
        torch = self._torch
        lengths = torch.tensor([len(part) for part in parts])
        x_BTD = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        mask_BT = torch.arange(x_BTD.shape[1])[None] < lengths[:, None]
        for number in self._numbers:
            x_BTD = layer(torch, self._weights, number, x_BTD, mask_BT)
        return mean(x_BTD, mask_BT)

    def _start_head(self, x_ND: Any, fit_N: NDArray[np.intp]) -> None:  # noqa: ANN401 - a tensor
        """Fit the head to the untouched embeddings, to the end, by L-BFGS."""
        torch = self._torch
        cards = self._truth.shape[1]
        count_M = self._seen[fit_N].sum(0).clamp(min=1.0)
        rate_M = ((self._truth * self._seen)[fit_N].sum(0) / count_M).clamp(0.02, 0.98)
        self._bias = torch.log(rate_M / (1 - rate_M)).requires_grad_()
        self._weight = torch.zeros(x_ND.shape[1], cards, requires_grad=True)
        descent = torch.optim.LBFGS([self._weight, self._bias], max_iter=60, history_size=10)

        def closure() -> Any:  # noqa: ANN401 - a tensor
            descent.zero_grad()
            loss = self._loss(x_ND[fit_N] @ self._weight + self._bias, fit_N)
            loss.backward()
            return loss

        descent.step(closure)

    def _loss(self, logit_BM: Any, rows_B: NDArray[np.intp]) -> Any:  # noqa: ANN401 - tensors
        """Return the mean cross-entropy over what was observed, and the head's penalty."""
        sums = self._torch.nn.functional.binary_cross_entropy_with_logits(
            logit_BM, self._truth[rows_B], weight=self._seen[rows_B], reduction="sum"
        )
        pull = self._plan.penalty / 2 / len(self._truth) * self._weight.square().sum()
        return sums / self._seen[rows_B].sum().clamp(min=1.0) + pull / self._truth.shape[1]

    def _logits(self, rows_B: NDArray[np.intp]) -> Any:  # noqa: ANN401 - a tensor
        unit_BD = self._torch.nn.functional.normalize(self._means(rows_B))
        return (unit_BD - self._centre) * self._scale @ self._weight + self._bias

    def _loss_of(self, rows_B: NDArray[np.intp]) -> float:
        if not len(rows_B):
            return float("inf")
        with self._torch.no_grad():
            return float(self._loss(self._logits(rows_B), rows_B))

    def _pass(self, epoch: int, fit_N: NDArray[np.intp]) -> None:
        """Train the layers and the head for one pass; the rate rises, then falls to zero."""
        torch, plan = self._torch, self._plan
        if epoch == 0:
            self._weights |= {
                name: self._weights[name].clone().requires_grad_() for name in self._trained
            }
            groups = [
                {"params": [self._weights[name] for name in self._trained], "lr": plan.rate},
                {"params": [self._weight, self._bias], "lr": 20 * plan.rate, "weight_decay": 0.0},
            ]
            self._descent = torch.optim.AdamW(groups, weight_decay=0.01)
            steps = -(-len(fit_N) // plan.batch) * plan.epochs
            rising = max(1, steps // 10)
            self._schedule = torch.optim.lr_scheduler.LambdaLR(
                self._descent, lambda k: min((k + 1) / rising, (steps - k) / steps)
            )
        shuffled = self._rng.permutation(fit_N)
        for k in range(0, len(shuffled), plan.batch):
            rows_B = shuffled[k : k + plan.batch]
            self._descent.zero_grad()
            self._loss(self._logits(rows_B), rows_B).backward()
            self._descent.step()
            self._schedule.step()

    def _copy(self, *, tuned: bool) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        head = {
            "centre": self._centre.double().numpy().copy(),
            "scale": np.array(self._scale),
            "weight": self._weight.detach().double().numpy().copy(),
            "bias": self._bias.detach().double().numpy().copy(),
        }
        names = self._trained if tuned else []
        return head, {name: self._weights[name].detach().numpy().copy() for name in names}
