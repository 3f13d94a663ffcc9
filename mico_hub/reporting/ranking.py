"""Which results stand beside each other: by track, on the split that decides, ranked as the competition did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

import numpy as np

from mico_hub.reporting.results import Result
from mico_hub.scoring import RANKING, Estimate, Interval
from mico_hub.suites import SPLITS

AVERAGE = f"average_{RANKING}"
"""The competition's name for the mean of the score that ranks over a track's suites, which ranked its entries."""


@dataclass(frozen=True, slots=True)
class Average:
    """An attack over the suites of a track."""

    results: Sequence[Result]  # one for each suite
    value: float  # mean of their scores that rank
    interval: Interval | None  # 95%; None where one of them has none

    @property
    def of(self) -> Mapping[str, Result]:
        """Suite -> result."""
        return {result.suite.name: result for result in self.results}


def by_track(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Track -> its results: suites by falling epsilon, then final, dev, train, then attacks as they came.

    Raises:
        ValueError: An attack was run twice on a split of a suite.
    """
    names = [f"{result.suite.name}/{result.split}/{result.attack}" for result in results]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"expected one result for an attack on a split of a suite, got more for {', '.join(twice)}")
    tracks = list(dict.fromkeys(result.suite.track for result in results))
    suites = list(dict.fromkeys(result.suite.name for result in results))
    attacks = list(dict.fromkeys(result.attack for result in results))

    def position(result: Result) -> tuple[float, ...]:
        suite = result.suite
        return -suite.epsilon, suites.index(suite.name), -SPLITS.index(result.split), attacks.index(result.attack)

    return {track: sorted((r for r in results if r.suite.track == track), key=position) for track in tracks}


def by_suite(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Suite -> its results, both in their order."""
    names = dict.fromkeys(result.suite.name for result in results)
    return {name: [result for result in results if result.suite.name == name] for name in names}


def main_results(results: Sequence[Result]) -> list[Result]:
    """Those of the split that decides: final, else dev, else train."""
    split = max((result.split for result in results), key=SPLITS.index)
    return [result for result in results if result.split == split]


def ranked(results: Sequence[Result]) -> list[Average]:
    """Each attack over its suites: those on most suites first, then the best.

    Args:
        results: Of one track and one split.
    """
    attacks = dict.fromkeys(result.attack for result in results)
    found = [_average([result for result in results if result.attack == attack]) for attack in attacks]
    return sorted(found, key=lambda average: (-len(average.results), -average.value))


def _average(results: Sequence[Result]) -> Average:
    value = mean(result.tpr for result in results)
    return Average(results, value, mean_estimate(results).interval() if all(r.estimates for r in results) else None)


def mean_estimate(results: Sequence[Result]) -> Estimate:
    """Of the score that ranks over an attack's suites, each with resamples of its own: its models are others.

    It counts as of the fewest models of a suite, whose t interval is the widest.
    """
    scores = independent(results)
    return Estimate(
        mean(score.value for score in scores),
        np.mean([score.draws for score in scores], axis=0),
        min(score.models for score in scores),
        scores[0].bounds,
        all(score.enough for score in scores),
    )


def independent(results: Sequence[Result]) -> list[Estimate]:
    """The score that ranks on each suite, with draws that owe nothing to those of the others."""
    scores = [result.estimates[RANKING] for result in results]
    # The same for each attack, since they are compared; independent is all that resamples of two suites need to be.
    return [replace(score, draws=np.random.default_rng(i).permutation(score.draws)) for i, score in enumerate(scores)]
