"""Certified lower bounds of epsilon from many coins in few trainings: pure, from counts.

A coin is a bit that was drawn fairly, on its own, and decides one thing of a training: whether a record is a member, or
which of two records is (a pair, see `pairs`). An attack guesses `guesses` of the `coins`, a number fixed beforehand,
and `correct` of its guesses are right. Sources:

- `one_run_epsilon`: Steinke, Nasr and Jagielski 2023, Privacy Auditing with One (1) Training Run, theorem 5.2: no
  assumption on the mechanism but (epsilon, delta)-DP for each coin;
- `fdp_epsilon`: Mahloujifar, Melis and Chaudhuri 2024, Auditing f-Differential Privacy in One Run, algorithm 3: the
  same claim by its trade-off, which takes delta into account without theorem 5.2's sum over coins;
- `gdp_one_run_epsilon`: the same algorithm for Gaussian trade-offs: it assumes that the mechanism has one.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.stats import binom

from mico_hub.auditing.gaussian import gdp_epsilon, lowest_probability
from mico_hub.scoring import LEVEL

_MOST = 50.0  # the largest epsilon, and the largest mu, that are certified
_TOLERANCE = 1e-5


def one_run_p_value(correct: int, guesses: int, coins: int, epsilon: float, delta: float) -> float:
    """The largest probability of so many right guesses, or more, under (epsilon, delta)-DP.

    beta + 2 coins delta alpha, where a right guess has probability e^epsilon / (1 + e^epsilon), beta is the binomial
    tail from `correct`, and alpha the largest of (the tail from `correct` - i, less beta) / i.
    """
    right = 1 / (1 + np.exp(-epsilon))
    beta = float(binom.sf(correct - 1, guesses, right))
    if delta == 0 or correct == 0:
        return beta
    i = np.arange(1, correct + 1)
    alpha = float(np.max((binom.sf(correct - i - 1, guesses, right) - beta) / i))
    return min(beta + 2 * coins * delta * alpha, 1.0)


@lru_cache(maxsize=1_000)
def one_run_epsilon(correct: int, guesses: int, coins: int, delta: float, level: float = LEVEL) -> float:
    """The largest epsilon that so many right guesses refute at that level of confidence; 0 where they refute none.

    Raises:
        ValueError: The counts are not 0 <= correct <= guesses <= coins, or delta or level is out of range.
    """
    _check(correct, guesses, coins, delta, level)
    return _largest(lambda epsilon: one_run_p_value(correct, guesses, coins, epsilon, delta) < 1 - level)


@lru_cache(maxsize=1_000)
def fdp_epsilon(correct: int, guesses: int, coins: int, delta: float, level: float = LEVEL) -> float:
    """As `one_run_epsilon`, by the trade-off of (epsilon, delta)-DP."""
    _check(correct, guesses, coins, delta, level)

    def refuted(epsilon: float) -> bool:
        grown = float(np.exp(epsilon))

        def lowest(raised: float) -> float:
            return max(0.0, (raised - delta) / grown, 1 - delta - grown * (1 - raised))

        return _refuted(lowest, correct, guesses, coins, 1 - level)

    return _largest(refuted)


@lru_cache(maxsize=1_000)
def gdp_one_run_epsilon(correct: int, guesses: int, coins: int, delta: float, level: float = LEVEL) -> float:
    """Epsilon at `delta` of the largest mu that is refuted, assuming that the trade-off is Gaussian."""
    _check(correct, guesses, coins, delta, level)
    mu = _largest(
        lambda mu: _refuted(lambda raised: lowest_probability(raised, mu), correct, guesses, coins, 1 - level)
    )
    return gdp_epsilon(mu, delta)


def _refuted(lowest: Callable[[float], float], correct: int, guesses: int, coins: int, error: float) -> bool:
    """Whether a trade-off allows so many right guesses with a probability of less than `error`.

    Args:
        lowest: The least that an event's probability can be, where it is its argument after one coin was turned.
        correct: Right guesses.
        guesses: All guesses.
        coins: All coins.
        error: One less the level of confidence.
    """
    # Beginning with the probability `error` of `correct` right guesses: what i right guesses must at least have.
    right, wrong = error * correct / coins, error * (guesses - correct) / coins
    for i in range(correct - 1, -1, -1):
        least = max(wrong, lowest(right))
        if least == wrong:
            break  # neither changes any more
        right, wrong = min(right + i / (guesses - i) * (least - wrong), 1.0), least
    return right + wrong > guesses / coins


def _largest(refuted: Callable[[float], bool]) -> float:
    """The largest value that is refuted, where all smaller ones are; 0 where 0 is not, rounded down."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2 * high
        if high > _MOST:
            return _MOST
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _check(correct: int, guesses: int, coins: int, delta: float, level: float) -> None:
    if not 0 <= correct <= guesses <= coins or guesses == 0:
        raise ValueError(f"expected 0 <= correct <= guesses <= coins, got {correct}, {guesses} and {coins}")
    if not 0 <= delta < 1 or not 0 < level < 1:
        raise ValueError(f"expected delta in [0, 1) and a level in (0, 1), got {delta} and {level}")
