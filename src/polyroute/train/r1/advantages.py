"""How much better a token was than expected: generalised advantage estimation over own tokens.

The one decision here: a token that the policy did not write takes no part. Values and errors step
over it, so an observation of a thousand tokens discounts nothing and is no critic target. (GRPO and
RLOO give all own tokens of an episode one advantage, which the trainer computes.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Advantages", "gae", "token_rewards", "whiten"]

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Advantages:
    """What the actor and the critic learn from."""

    advantage_B_T: _Floats
    """Zero where the mask is."""
    return_B_T: _Floats
    """Target of the critic; zero where the mask is."""


def gae(
    reward_B_T: _Floats,
    value_B_T: _Floats,
    mask_B_T: NDArray[np.bool_],
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
) -> Advantages:
    """Return the advantage of every token of the mask.

    Parameters
    ----------
    reward_B_T : ndarray of shape (B, T)
        Reward at each token; what lies outside the mask is not read.
    value_B_T : ndarray of shape (B, T)
        The critic's value before each token.
    mask_B_T : ndarray of bool, shape (B, T)
        The tokens that count, in any pattern.
    gamma : float, default=1.0
        Discount per counted token, in [0, 1].
    lam : float, default=1.0
        Weight of longer looks ahead, in [0, 1]; 1 is the whole return minus the value.

    References
    ----------
    Schulman et al., High-dimensional continuous control using generalized advantage estimation,
    arXiv:1506.02438, equation 16. Router-R1 (arXiv:2506.09033) uses gamma = lam = 1; its code
    counts observation tokens too, which a mask of all tokens of the reply reproduces.

    Examples
    --------
    >>> reward, value = np.array([[0.0, 9.0, 1.0]]), np.array([[0.5, 9.0, 0.25]])
    >>> gae(reward, value, np.array([[True, False, True]])).advantage_B_T
    array([[0.5 , 0.  , 0.75]])
    """
    advantage_B_T = np.zeros_like(value_B_T)
    ahead_B = np.zeros(len(value_B_T))
    next_value_B = np.zeros(len(value_B_T))
    for t in reversed(range(value_B_T.shape[1])):
        error_B = reward_B_T[:, t] + gamma * next_value_B - value_B_T[:, t]
        here_B = error_B + gamma * lam * ahead_B
        ahead_B = np.where(mask_B_T[:, t], here_B, ahead_B)
        next_value_B = np.where(mask_B_T[:, t], value_B_T[:, t], next_value_B)
        advantage_B_T[:, t] = np.where(mask_B_T[:, t], here_B, 0.0)
    return Advantages(advantage_B_T, np.where(mask_B_T, advantage_B_T + value_B_T, 0.0))


def whiten(values_B_T: _Floats, mask_B_T: NDArray[np.bool_]) -> _Floats:
    """Return `values_B_T` with mean 0 and variance 1 over the mask, and zero elsewhere.

    Examples
    --------
    >>> whiten(np.array([[1.0, 100.0, 3.0]]), np.array([[True, False, True]]))
    array([[-1.,  0.,  1.]])
    """
    chosen = values_B_T[mask_B_T]
    spread = max(float(chosen.std()), 1e-8)
    return np.where(mask_B_T, (values_B_T - chosen.mean()) / spread, 0.0)


def token_rewards(
    reward_B: _Floats,
    counted_B_T: NDArray[np.bool_],
    own_B_T: NDArray[np.bool_],
    charge_B_T: _Floats | None = None,
) -> _Floats:
    """Return the reward of each token: the episode's on its last counted one, less the charges.

    Parameters
    ----------
    reward_B : ndarray of shape (B,)
        Of the episodes.
    counted_B_T : ndarray of bool, shape (B, T)
        The tokens that advantages are of.
    own_B_T : ndarray of bool, shape (B, T)
        The tokens that the policy wrote: only they are charged.
    charge_B_T : ndarray of shape (B, T), optional
        What each token is charged for its divergence from the start.

    Examples
    --------
    >>> mask = np.array([[True, True, False]])
    >>> token_rewards(np.array([2.0]), mask, mask, np.array([[0.5, 0.25, 9.0]]))
    array([[-0.5 ,  1.75,  0.  ]])
    """
    place = np.arange(1, counted_B_T.shape[1] + 1)
    last_B = (counted_B_T * place).argmax(axis=1)
    reward_B_T = np.zeros(counted_B_T.shape)
    reward_B_T[np.arange(len(reward_B)), last_B] = reward_B
    return reward_B_T if charge_B_T is None else reward_B_T - charge_B_T * own_B_T
