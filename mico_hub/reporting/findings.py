"""What attacks achieved, and what that shows, in words that follow from the numbers and their intervals alone."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

import numpy as np

from mico_hub.messages import counted
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.reporting.results import Result
from mico_hub.reporting.scorecard import LEAVE_ONE_OUT
from mico_hub.scoring import (
    RANKING,
    Estimate,
    Interval,
    compare_estimates,
    needed_non_members,
)
from mico_hub.suites import SPLITS, Suite

CHANCE = 0.1
"""The true positive rate of guessing at a false positive rate of 10%."""

_MOST_NAMED, _BEST_NAMED = 6, 3  # attacks in a sentence: all up to so many, else the best ones


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


def main_results(results: Sequence[Result]) -> list[Result]:
    """Those of the split that decides: final, else dev, else train."""
    split = max((result.split for result in results), key=SPLITS.index)
    return [result for result in results if result.split == split]


def ranked(results: Sequence[Result]) -> list[tuple[list[Result], float]]:
    """Each attack's results and the mean of their TPR, as tracks are ranked: those on most suites first, then best.

    Args:
        results: Of one track and one split.
    """
    attacks = list(dict.fromkeys(result.attack for result in results))
    groups = [[result for result in results if result.attack == attack] for attack in attacks]
    scored = [(group, mean(result.tpr for result in group)) for group in groups]
    return sorted(scored, key=lambda entry: (-len(entry[0]), -entry[1]))


def percent(rate: float) -> str:
    """`26.1%`."""
    return f"{100 * rate:.1f}%"


def percent_range(interval: Interval) -> str:
    """`24.8 to 27.4%`."""
    return f"{100 * interval.low:.1f} to {percent(interval.high)}"


def conclusions(results: Sequence[Result]) -> list[str]:
    """What the numbers show, a sentence or two on each matter: every suite, the budgets, the attacks, the price of DP.

    For each track it is about the main split and the strongest attack there.
    """
    tracks = by_track(results)
    return [
        (f"{track}: " if len(tracks) > 1 else "") + words for track, of in tracks.items() for words in _of_track(of)
    ]


def _of_track(results: list[Result]) -> list[str]:
    main = main_results(results)
    attacks = ranked(main)
    best = attacks[0][0]
    comparable = _comparable([result.suite for result in best])
    words = [_on_suite(result, i == 0, best[:i] if comparable else []) for i, result in enumerate(best)]
    words += _on_twins(best)
    if comparable:
        words.append(_on_order(best))
    if len(attacks) > 1:
        words.append(_on_attacks(attacks, len({result.suite.name for result in main})))
    words += _on_accuracy(main)
    if main[0].split == REVEALED_SPLIT:
        words.append(
            "These are models whose membership is public, each attacked with the others as its shadow models, so they "
            f"are not independent: {LEAVE_ONE_OUT}"
        )
    return words


def _comparable(suites: Sequence[Suite]) -> bool:
    """Whether the suites differ by their budget alone, as those of a DP-distinguisher track do not."""
    same_task = len({(suite.dataset, suite.model) for suite in suites}) == 1
    return same_task and len({suite.epsilon for suite in suites}) == len(suites) > 1


def _name(suite: Suite) -> str:
    return f"epsilon {suite.epsilon:g}" if suite.private else "no DP"


def _budget(suite: Suite) -> str:
    return f"with {_name(suite)}" if suite.private else "without DP"


def _on_suite(result: Result, first: bool, larger_budgets: Sequence[Result]) -> str:
    """How much is found there. Only the first sentence spells out what is measured; the later ones lean on it."""
    name = f"{result.title}," if "," in result.title else result.title
    if result.interval is None:
        few = "a single model" if len(result.membership) < 2 else f"fewer than {needed_non_members(CHANCE)} non-members"
        interval = f"{few}, so no interval"
    else:
        interval = ("95% interval " if first else "") + percent_range(result.interval)
    budget = _capital(_budget(result.suite))
    if first:
        found = (
            f"{budget} ({result.suite.name}, {result.split}) {name} finds {percent(result.tpr)} of the members at a "
            f"false positive rate below 10% ({interval}), where guessing finds 10%"
        )
    else:
        found = f"{budget} ({result.suite.name}) it finds {percent(result.tpr)} ({interval})"
    verdicts = [_against_chance(result.interval), *(_against(result, larger) for larger in larger_budgets)]
    return f"{found}: {'; '.join(verdicts)}."


def _against_chance(interval: Interval | None) -> str:
    if interval is None:
        return "without an interval it cannot be compared with chance"
    if interval.low > CHANCE:
        return "clearly above chance"
    return "below chance, worse than guessing" if interval.high < CHANCE else "not distinguishable from chance"


def _separate(one: Result, other: Result) -> bool:
    """Whether both have intervals and these do not overlap."""
    if one.interval is None or other.interval is None:
        return False
    return one.interval.high < other.interval.low or other.interval.high < one.interval.low


def _against(result: Result, larger: Result) -> str:
    """How a suite compares with one of a larger budget."""
    if percent(result.tpr) == percent(larger.tpr):
        return f"as much as {_budget(larger.suite)}"
    compared = f"{'less' if result.tpr < larger.tpr else 'more'} than {_budget(larger.suite)}"
    if result.interval is None or larger.interval is None:
        return compared
    if not _separate(result, larger):
        return f"{compared}, but the intervals overlap, so this may be chance"
    return f"{compared} (the intervals do not overlap)"


def _on_order(results: Sequence[Result]) -> str:
    """Whether a smaller budget goes with fewer members found, as one expects."""
    steps = list(pairwise(results))
    if not all(smaller.tpr < larger.tpr for larger, smaller in steps):
        most = max(results, key=lambda result: result.tpr)
        return (
            "The order is not the expected one: the members found do not become fewer with every step to a smaller "
            f"budget (most are found {_budget(most.suite)})."
        )
    falls = "The smaller the budget, the fewer members are found"
    if all(_separate(larger, smaller) for larger, smaller in steps):
        return f"{falls}, and no two intervals overlap."
    unclear = [
        f"from {_name(larger.suite)} to {_name(smaller.suite)}"
        for larger, smaller in steps
        if not _separate(larger, smaller)
    ]
    return f"{falls}, but the intervals do not establish every step (not {_and(unclear)})."


def _on_attacks(attacks: Sequence[tuple[list[Result], float]], suites: int) -> str:
    means = []
    named, others = (attacks, []) if len(attacks) <= _MOST_NAMED else (attacks[:_BEST_NAMED], attacks[_BEST_NAMED:])
    for group, average in named:
        missing = "" if len(group) == suites else f" over {len(group)} of {suites} suites"
        means.append(f"{group[0].title} {percent(average)}{missing}")
    if others:
        found = [average for _, average in others]
        means.append(f"{len(others)} others {percent_range(Interval(min(found), max(found)))}")
    best = attacks[0][0]
    ranks = "Mean over the suites, which ranks attacks" if suites > 1 else "Attacks, best first"
    words = f"{ranks}: {'; '.join(means)}."
    words += _on_difference(attacks[0][0], attacks[1][0])
    rivals = [result for group, _ in attacks[1:] for result in group]
    for result in best:
        above = [r for r in rivals if r.suite.name == result.suite.name and r.tpr > result.tpr]
        if above:
            rival = max(above, key=lambda r: r.tpr)
            words += f" On {result.suite.name} the highest is {rival.title} with {percent(rival.tpr)}."
    return words


def _on_difference(best: Sequence[Result], second: Sequence[Result]) -> str:
    """Whether the best attack is ahead of the second, by the paired difference of their means over the suites."""
    if [result.suite for result in best] != [result.suite for result in second] or any(
        result.interval is None for result in (*best, *second)
    ):
        return ""
    found = compare_estimates(_mean(best), _mean(second))
    if found.interval is None:
        return ""
    verdict = "" if found.clear else ", which is inside the noise"
    return (
        f" {_capital(best[0].title)} is ahead of {second[0].title} by {100 * found.difference:.1f} points "
        f"(paired, {100 * found.interval.low:.1f} to {100 * found.interval.high:.1f}){verdict}."
    )


def _mean(results: Sequence[Result]) -> Estimate:
    """Of the score that ranks over an attack's suites, each with resamples of its own: its models are others.

    It counts as of the fewest models of a suite, whose t interval is the widest.
    """
    scores = [result.estimates[RANKING] for result in results]
    # The same for each attack, since they are compared; independent is all that resamples of two suites need to be.
    draws = [np.random.default_rng(i).permutation(score.draws) for i, score in enumerate(scores)]
    return Estimate(mean(s.value for s in scores), np.mean(draws, axis=0), min(s.models for s in scores))


def _on_twins(results: Sequence[Result]) -> list[str]:
    """What is found among records without an exact twin; nothing where all are."""
    found = [
        f"{percent(without[RANKING])} on {result.suite.name} (without {counted(result.twins or 0, 'point')})"
        for result in results
        if (without := result.without_twins)
    ]
    if not found:
        return []
    return [f"Without the points whose record has an exact twin in the base dataset it finds {_and(found)}."]


def _on_accuracy(main: Sequence[Result]) -> list[str]:
    """The price of DP: the accuracy of the models; nothing where it is not known."""
    known = {r.suite.name: (r.suite, r.accuracy) for r in main if r.accuracy is not None}
    if not known:
        return []
    pairs = list(known.values())
    if len(pairs) == 1:
        return [f"The models are right on {percent(pairs[0][1])} of the evaluation records."]
    if not _comparable([suite for suite, _ in pairs]):
        shares = _and([f"{percent(accuracy)} in {suite.name}" for suite, accuracy in pairs])
        return [f"The models are right on {shares} of the evaluation records."]
    (largest, baseline), *smaller = pairs
    shares = _and(
        [f"{percent(baseline)} of the evaluation records {_budget(largest)}"]
        + [f"{percent(accuracy)} {_budget(suite)}" for suite, accuracy in smaller]
    )
    if largest.private:
        return [f"The models are right on {shares}."]
    lost = [baseline - accuracy for _, accuracy in smaller]
    price = "The price of DP" if min(lost) > 0 else "DP does not always have a price here"
    return [f"{price if max(lost) > 0 else 'No price of DP shows'}: the models are right on {shares}."]


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _and(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
