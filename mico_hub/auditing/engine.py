"""An audit of the training engine: models with one record and without it, and the epsilon that tells them apart.

Three lower bounds for adding or removing one record, from the same two error rates; each says what it assumes:

- `free`: nothing. Both rates bounded by Clopper and Pearson: 2,000 runs cannot show more than about 5.6.
- `family`: that training is the Poisson-subsampled Gaussian mechanism of the recipe, of unknown noise: epsilon at the
  largest noise multiplier that the two rates do not refute, by a pessimistic privacy loss distribution (Nasr et al.
  2023, Tight Auditing of Differentially Private Machine Learning). What accounts for too much or too little is found;
  what is no such mechanism at all may pass as one with less noise, and is then found, too.
- `gaussian`: that its trade-off is that of two normal distributions; what most audits that are published print.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mico_hub import tables
from mico_hub.auditing.bounds import HEADERS
from mico_hub.auditing.canaries import CANARIES
from mico_hub.auditing.ceiling import Ceiling, ceiling
from mico_hub.auditing.gaussian import gdp_epsilon, mu_of_rates
from mico_hub.auditing.rates import Errors, clopper_pearson_upper, epsilon_of_rates, two_rates_epsilon, upper_rates
from mico_hub.auditing.trials import Seen, Trials, run_trials, step_evidence
from mico_hub.data.base import BaseDataset
from mico_hub.messages import InputError
from mico_hub.scoring import LEVEL
from mico_hub.suites import Suite
from mico_hub.training.accounting import calibrate
from mico_hub.training.sgd import Runtime
from mico_hub.workers.job import Workers

FloatArray = NDArray[np.float64]

TUNING = 0.2
"""Share of the runs that the threshold is fixed on where it is not known beforehand; the others are counted."""
_TOLERANCE = 2e-3  # of a noise multiplier


@dataclass(frozen=True, slots=True)
class EngineAudit:
    """What the engine was seen to give away."""

    suite: Suite  # the recipe that was audited
    canary: str
    noise_multiplier: float  # that the engine was told to use
    errors: Errors  # at the threshold with the fewest
    strict: Errors  # at the one that certifies most without assumption
    level: float
    free: float  # from `strict`
    family: float  # from `errors`
    gaussian: float  # from `errors`


def full_batches(suite: Suite) -> Suite:
    """The same recipe with all records in every step, as many steps as epochs; its noise is another."""
    return replace(suite, batch_size=suite.n)


def audit_engine(
    suite: Suite,
    base: BaseDataset,
    workers: Workers,
    *,
    canary: str = "gradient",
    runs: int = 2_000,
    runtime: Runtime | None = None,
    level: float = LEVEL,
    known: Sequence[Seen] = (),
    keep: Callable[[Sequence[Seen]], object] = lambda seen: None,
) -> EngineAudit:
    """Audits the engine on a recipe: trains, and certifies.

    Args:
        suite: With DP and Poisson sampling.
        base: Its base dataset.
        workers: Where trainings run.
        canary: A key of `CANARIES`.
        runs: Trainings, half of them with the canary.
        runtime: How they run.
        level: Of confidence.
        known: See `run_trials`.
        keep: See `run_trials`.

    Raises:
        InputError: The suite is trained without DP, or is of sentences.
    """
    noise = calibrate(suite)
    if noise is None or suite.delta is None:
        raise InputError(f"{suite.name}: expected a suite with DP, got one that claims no epsilon")
    problem = CANARIES[canary](suite, base, noise)
    trials = run_trials(problem, noise, runs, runtime or Runtime(), workers, known, keep)
    if problem.direction is None:
        fixed_on, trials = _parted(trials)
    else:
        fixed_on = simulated(suite, noise, problem.share)
    return certify(suite, canary, noise, trials, fixed_on, level)


def simulated(suite: Suite, noise_multiplier: float, share: float, draws: int = 4_000) -> Trials:
    """What an auditor who sees all steps would see of the mechanism that is claimed, always the same draws."""
    rng = np.random.default_rng(0)
    rate = suite.sampling_rate

    def seen(there: float) -> FloatArray:
        total = np.zeros(draws)
        for _ in range(suite.steps):
            step = noise_multiplier * rng.normal(size=draws) + there * share * (rng.random(draws) < rate)
            total += step_evidence(step, share, rate, noise_multiplier)
        return total

    return Trials(seen(0.0), seen(1.0))


def errors_of(trials: Trials, threshold: float) -> Errors:
    """What a threshold that was fixed beforehand decides."""
    return Errors(
        false_positives=int(np.count_nonzero(trials.without > threshold)),
        without=len(trials.without),
        false_negatives=int(np.count_nonzero(trials.having <= threshold)),
        having=len(trials.having),
    )


def fix_thresholds(trials: Trials, runs: tuple[int, int], delta: float, level: float) -> tuple[float, float]:
    """The threshold with the fewest errors, and the one whose error rates would certify most without assumption.

    Args:
        trials: Others than the ones that are counted, or simulated ones.
        runs: That are counted, without and with the canary.
        delta: Of the guarantee that is tested.
        level: Of confidence.
    """
    without, having = np.sort(trials.without), np.sort(trials.having)
    candidates = np.unique(np.concatenate([without, having]))
    fpr = 1 - np.searchsorted(without, candidates, side="right") / len(without)
    fnr = np.searchsorted(having, candidates, side="right") / len(having)
    alpha = (1 - level) / 2
    highest = [
        clopper_pearson_upper(rate * number, number, alpha) for rate, number in zip((fpr, fnr), runs, strict=True)
    ]
    certified = epsilon_of_rates(highest[0], highest[1], delta)
    return float(candidates[np.argmin(fpr + fnr)]), float(candidates[np.argmax(certified)])


def certify(
    suite: Suite, canary: str, noise_multiplier: float, trials: Trials, fixed_on: Trials, level: float
) -> EngineAudit:
    """The bounds that trials show.

    Args:
        suite: The recipe.
        canary: Its name.
        noise_multiplier: That the engine was told to use.
        trials: That are counted.
        fixed_on: What thresholds are fixed on, see `fix_thresholds`.
        level: Of confidence.
    """
    delta = suite.delta or 0.0
    counts = len(trials.without), len(trials.having)
    errors, strict = (errors_of(trials, each) for each in fix_thresholds(fixed_on, counts, delta, level))
    return EngineAudit(
        suite=suite,
        canary=canary,
        noise_multiplier=noise_multiplier,
        errors=errors,
        strict=strict,
        level=level,
        free=two_rates_epsilon(strict, delta, level),
        family=family_epsilon(errors, suite.sampling_rate, suite.steps, delta, level),
        gaussian=gdp_epsilon(mu_of_rates(*upper_rates(errors, level)), delta),
    )


def refuted(errors: Errors, claim: Ceiling, level: float) -> bool:
    """Whether error rates are lower than the mechanism allows, at that level of confidence."""
    fpr, fnr = upper_rates(errors, level)
    return 1 - fnr > float(claim.tpr(fpr))


def family_epsilon(errors: Errors, sampling_rate: float, steps: int, delta: float, level: float = LEVEL) -> float:
    """Epsilon at the largest noise multiplier that the errors do not refute; 0 where they refute none.

    Args:
        errors: Of trainings that are independent of each other.
        sampling_rate: q of the recipe.
        steps: Of the recipe.
        delta: Of the guarantee that is tested.
        level: Of confidence.
    """
    fpr, fnr = upper_rates(errors, level)
    if 1 - fnr <= fpr:
        return 0.0

    def mechanism(noise: float) -> Ceiling:
        return ceiling(noise, sampling_rate, steps, "add_remove")

    low = high = 1.0  # not refuted, refuted
    while refuted(errors, mechanism(low), level):
        low, high = low / 2, low
    while not refuted(errors, mechanism(high), level):
        low, high = high, 2 * high
    while high / low > 1 + _TOLERANCE:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if refuted(errors, mechanism(middle), level) else (middle, high)
    return mechanism(high).epsilon(delta)


def _parted(trials: Trials) -> tuple[Trials, Trials]:
    """Some of the trials, and the others."""
    cuts = [int(TUNING * len(values)) for values in (trials.without, trials.having)]
    first = Trials(trials.without[: cuts[0]], trials.having[: cuts[1]])
    return first, Trials(trials.without[cuts[0] :], trials.having[cuts[1] :])


def heading(found: EngineAudit) -> str:
    """What was audited, with which canary."""
    suite, runs = found.suite, found.errors.without + found.errors.having
    return (
        f"{suite.name}, {found.canary} canary: {runs:,} trainings of {suite.steps} steps, sampling rate "
        f"{suite.sampling_rate:.4g}, noise multiplier {found.noise_multiplier:.4g}, delta {suite.delta:g}"
    )


def table(found: EngineAudit) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows."""
    sure, free, family = f"at {found.level:.0%}", _rates(found.strict), _rates(found.errors)
    return HEADERS, [
        ("claimed, add or remove one record", f"{found.suite.epsilon:g}", ""),
        ("at least", f"{found.free:.2f}", f"certified {sure}, no assumption; {free}"),
        ("at least, in the family", f"{found.family:.2f}", f"{sure}, if a Poisson-subsampled Gaussian; {family}"),
        ("at least, if Gaussian", f"{found.gaussian:.2f}", f"{sure}, if the trade-off is Gaussian; same errors"),
    ]


def _rates(errors: Errors) -> str:
    return f"FPR {errors.false_positives:,}/{errors.without:,}, FNR {errors.false_negatives:,}/{errors.having:,}"


def notes(found: EngineAudit) -> list[str]:
    """Whether the claim holds."""
    highest = max(found.free, found.family)
    if highest > found.suite.epsilon:
        chance = f"{2 * (1 - found.level):.0%}"  # of either bound
        return [
            f"The engine gives away more than it claims: {highest:.2f} at {found.level:.0%}. By chance one of the two "
            f"bounds is too high in at most {chance} of audits: audit again, with all trainings anew."
        ]
    return ["The engine was not seen to give away more than it claims. No number of trainings proves that it does not."]


def text(found: EngineAudit) -> str:
    """The audit as a table."""
    return "\n\n".join([heading(found), tables.text(*table(found)), "\n".join(notes(found))])


def as_json(found: EngineAudit) -> dict[str, Any]:
    """Everything in `text`, for a machine."""
    suite = found.suite
    return {
        "suite": suite.name,
        "canary": found.canary,
        "claimed": suite.epsilon,
        "delta": suite.delta,
        "sampling_rate": suite.sampling_rate,
        "steps": suite.steps,
        "noise_multiplier": found.noise_multiplier,
        "errors": asdict(found.errors),
        "strict": asdict(found.strict),
        "level": found.level,
        "at_least": {"free": found.free, "family": found.family, "gaussian": found.gaussian},
    }
