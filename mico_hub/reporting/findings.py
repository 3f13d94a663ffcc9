"""What attacks achieved, in sentences that can be quoted: each stands alone, with its interval where it has one.

What the numbers cannot show is said once, in `limits`.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from mico_hub.messages import counted
from mico_hub.release.disclosure import REVEALED_SPLIT
from mico_hub.reporting.ranking import Average, by_track, independent, main_results, mean_estimate, ranked
from mico_hub.reporting.results import Result
from mico_hub.reporting.scorecard import LEAVE_ONE_OUT, LOW_FPRS, on_few, percent, percent_range, rate
from mico_hub.scoring import Comparison, Interval, compare_estimates
from mico_hub.suites import Suite

CHANCE = 0.1
"""The true positive rate of guessing at a false positive rate of 10%."""

_MOST_NAMED, _BEST_NAMED = 6, 3  # attacks in a sentence: all up to so many, else the best ones


def conclusions(results: Sequence[Result]) -> list[str]:
    """What the numbers show on the main split of each track: on each suite, by budget, by attack, and of the models."""
    tracks = by_track(results)
    return [
        (f"{track}: " if len(tracks) > 1 else "") + words for track, of in tracks.items() for words in _of_track(of)
    ]


def limits(results: Sequence[Result]) -> list[str]:
    """What the numbers do not show."""
    several = [result for result in results if len(result.membership) > 1]
    words = ["Another attack may find more: what is found is the least that leaks"]
    words[0] += (
        ", and the ceiling the most."
        if any(result.ceiling is not None for result in results)
        else "; no ceiling is known."
    )
    if several:
        words.append(
            "Intervals say how a number would vary with other models of the same recipe. With other shadow models an "
            "attack would be another, which they leave out; and each holds for its own number, not for all at once."
        )
    if len(several) < len(results):
        words.append("A single model has nothing to resample: without an interval it cannot be compared with guessing.")
    words += on_few(results)
    if any(result.split == REVEALED_SPLIT for result in several):
        words.append(f"Models of train are each other's shadow models, and so not independent: {LEAVE_ONE_OUT}")
    if any(result.suite.private and result.suite.design == "exact" for result in results):
        words.append(
            "The claimed epsilon is for adding or removing one record. Here exactly half of the challenge are members, "
            "one in means another out, so no rate contradicts the claim: `mico-hub audit` tests it."
        )
    return words


def _of_track(results: list[Result]) -> list[str]:
    main = main_results(results)
    attacks = ranked(main)
    best = attacks[0].results
    words = [_on_suite(result) for result in best]
    words += _on_twins(best)
    if _comparable([result.suite for result in best]):
        words += _on_budgets(best)
    if len(attacks) > 1:
        words.append(_on_attacks(attacks))
    return words + _on_accuracy(main)


def _comparable(suites: Sequence[Suite]) -> bool:
    """Whether the suites differ by their budget alone, as those of a DP-distinguisher track do not."""
    same_task = len({(suite.dataset, suite.model) for suite in suites}) == 1
    return same_task and len({suite.epsilon for suite in suites}) == len(suites) > 1


def budget(suite: Suite) -> str:
    """`epsilon 10`, or `no DP`."""
    return f"epsilon {suite.epsilon:g}" if suite.private else "no DP"


def _on_suite(result: Result) -> str:
    interval = "" if result.interval is None else f" (95% interval {percent_range(result.interval)})"
    words = (
        f"{result.suite.name} ({budget(result.suite)}), {result.split}: {result.title} finds {percent(result.tpr)} of "
        f"the members at a false positive rate below 10%{interval}{_against_chance(result.interval)}."
    )
    low = [f"{rate(result, score)} at {name}" for name, score in LOW_FPRS.items()]
    words += f" It finds {_and(low)}."
    if (ceiling := result.ceiling_at(CHANCE)) is not None:
        words += f" With this noise no attack can find more than {percent(ceiling)} at 10%."
    return words


def _against_chance(interval: Interval | None) -> str:
    if interval is None:
        return ", where guessing finds 10%"
    if interval.low > CHANCE:
        return ", more than guessing (10%)"
    return ", less than guessing (10%)" if interval.high < CHANCE else ", not distinguishable from guessing (10%)"


def _on_budgets(best: Sequence[Result]) -> list[str]:
    """How much fewer members are found with each smaller budget."""
    if not all(result.estimates for result in best):
        return []
    steps = []
    for (larger, before), (smaller, after) in pairwise(zip(best, independent(best), strict=True)):
        found = compare_estimates(after, before)
        way = f"from {budget(larger.suite)} to {budget(smaller.suite)}"
        steps.append(f"{way} by {100 * found.difference:+.1f} points{_in_points(found)}")
    return [f"What {best[0].title} finds changes {_and(steps)}."]


def _in_points(found: Comparison) -> str:
    if found.interval is None:
        return ""
    words = f"{100 * found.interval.low:+.1f} to {100 * found.interval.high:+.1f}"
    return f" ({words})" if found.clear else f" ({words}: within the noise)"


def _on_attacks(attacks: Sequence[Average]) -> str:
    suites = max(len(each.results) for each in attacks)
    named, others = (attacks, []) if len(attacks) <= _MOST_NAMED else (attacks[:_BEST_NAMED], attacks[_BEST_NAMED:])
    values = [f"{each.results[0].title} {percent(each.value)}{_missing(each, suites)}" for each in named]
    if others:
        found = [each.value for each in others]
        values.append(f"{len(others)} others {percent_range(Interval(min(found), max(found)))}")
    words = f"Mean over the suites: {'; '.join(values)}." if suites > 1 else f"Best first: {'; '.join(values)}."
    first, second = attacks[:2]
    same = [result.suite for result in first.results] == [result.suite for result in second.results]
    if same and all(result.estimates for result in (*first.results, *second.results)):
        ahead = compare_estimates(mean_estimate(first.results), mean_estimate(second.results))
        words += (
            f" {_capital(first.results[0].title)} is ahead of {second.results[0].title} by "
            f"{100 * ahead.difference:.1f} points, paired by model{_in_points(ahead)}."
        )
    return words


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _missing(average: Average, suites: int) -> str:
    return "" if len(average.results) == suites else f" over {len(average.results)} of {suites} suites"


def _on_twins(results: Iterable[Result]) -> list[str]:
    """What is found among records without an exact twin; nothing where all are."""
    found = [
        f"{rate(result, without=True)} on {result.suite.name} (without {counted(result.twins or 0, 'point')})"
        for result in results
        if result.without_twins
    ]
    if not found:
        return []
    return [f"Without the points whose record has an exact twin in the base dataset it finds {_and(found)}."]


def _on_accuracy(main: Sequence[Result]) -> list[str]:
    """The accuracy of the models; nothing where it is not known."""
    known = {result.suite.name: (result.suite, result.accuracy) for result in main if result.accuracy is not None}
    if not known:
        return []
    suites = [suite for suite, _ in known.values()]
    by_budget = _comparable(suites)
    if len(suites) == 1:
        shares = [percent(share) for _, share in known.values()]
    else:
        shares = [f"{percent(share)} ({budget(suite) if by_budget else suite.name})" for suite, share in known.values()]
    return [f"The models classify {_and(shares)} of unseen records correctly."]


def _and(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
