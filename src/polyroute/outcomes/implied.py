"""The pool that an outcome table implies: its models, with the prices that its costs tell."""

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from polyroute.outcomes.table import OutcomeTable
from polyroute.pool import ModelCard, Pool, Price

__all__ = ["pool_of"]


def pool_of(table: OutcomeTable) -> Pool:
    """Return the pool of the table's models, with the prices that its costs imply.

    Recorded costs are a price list times counted tokens, so the list comes out of a least-squares
    fit of each model's costs on its tokens, rates 0 or more. With costs and no tokens a card gets
    its mean cost as the price of a call; without costs its price is unknown.

    Examples
    --------
    >>> table = OutcomeTable.of(
    ...     [{"query_id": "q", "prompt": "?"}, {"query_id": "r", "prompt": "!"}],
    ...     [{"query_id": "q", "model": "m", "score": 1, "prompt_tokens": 100,
    ...       "completion_tokens": 10, "cost_usd": 0.00012},
    ...      {"query_id": "r", "model": "m", "score": 1, "prompt_tokens": 100,
    ...       "completion_tokens": 20, "cost_usd": 0.00014}])
    >>> pool_of(table).card("m").descriptor()
    'm (model; $1 in / $2 out per million tokens):'
    """
    rows = table.responses
    return Pool(
        ModelCard(id=name, price=_implied_price(table, rows.model == m))
        for m, name in enumerate(table.models)
    )


def _implied_price(table: OutcomeTable, mine: NDArray[np.bool_]) -> Price | None:
    rows = table.responses
    mine = mine & ~np.isnan(rows.cost_usd)
    if not mine.any():
        return None
    cost = rows.cost_usd[mine]
    counted = (rows.prompt_tokens[mine] >= 0) & (rows.completion_tokens[mine] >= 0)
    if not counted.all():
        return Price(call=_rounded(float(cost.mean())))
    tokens = np.stack([rows.prompt_tokens[mine], rows.completion_tokens[mine]], axis=1) / 1e6
    rates = np.linalg.lstsq(tokens, cost, rcond=None)[0]
    if rates.min() < 0:  # one rate explains the costs as well as they can be explained
        ends = [_one_rate(tokens, cost, k) for k in (0, 1)]
        rates = min(ends, key=lambda ends: float(((tokens @ ends - cost) ** 2).sum()))
    return Price(input=_rounded(float(rates[0])), output=_rounded(float(rates[1])))


def _one_rate(
    tokens: NDArray[np.float64], cost: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    rates = np.zeros(2)
    square = float(tokens[:, k] @ tokens[:, k])
    rates[k] = max(0.0, float(tokens[:, k] @ cost) / square) if square else 0.0
    return rates


def _rounded(rate: float) -> Decimal:
    """Return a rate to four digits: recorded costs are rounded, price lists are round."""
    return Decimal(f"{Decimal(f'{rate:.4g}'):f}")
