"""The ceiling against what is known exactly, an independent accountant, and attacks that try to pass it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from mico_hub.auditing.ceiling import Adjacency, Ceiling, ceiling, suite_ceiling
from mico_hub.scoring import full_tpr_at_fpr
from mico_hub.suites import SUITES
from mico_hub.training import accounting

FPRS = np.array([0.001, 0.01, 0.1, 0.5])


@pytest.mark.parametrize(("adjacency", "distance"), [("add_remove", 1), ("substitution", 2)])
def test_one_gaussian_step_is_known_exactly(adjacency: Adjacency, distance: int) -> None:
    """0.389 and 0.764 at FPR 0.1: the best attack is a threshold on the output."""
    found = ceiling(1.0, 1.0, 1, adjacency).tpr(FPRS)
    exact = norm.cdf(norm.ppf(FPRS) + distance)
    assert (found >= exact).all()
    assert found == pytest.approx(exact, rel=1e-3, abs=1e-6)
    assert round(float(exact[2]), 3) == {1: 0.389, 2: 0.764}[distance]


@pytest.mark.parametrize(("sigma", "q"), [(1.0, 0.3), (0.3, 0.3), (0.7, 0.01)])
def test_one_sampled_step_is_at_least_the_integral(sigma: float, q: float) -> None:
    """delta(epsilon) is the integral of (P - e^epsilon Q)+ over the two mixtures that substitution tells apart."""
    x = np.linspace(-1 - 12 * sigma, 1 + 12 * sigma, 400_001)
    p, other = ((1 - q) * norm.pdf(x, 0, sigma) + q * norm.pdf(x, at, sigma) for at in (-1, 1))
    epsilons = np.array([0.0, 0.1, 1.0, 3.0])
    exact = np.array([np.trapezoid(np.maximum(p - np.exp(epsilon) * other, 0), x) for epsilon in epsilons])
    found = ceiling(sigma, q, 1, "substitution").delta(epsilons)
    assert (found >= exact - 1e-9).all()
    assert found == pytest.approx(exact, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(("sigma", "q"), [(0.8, 0.3), (0.5, 0.05)])
def test_no_two_gradients_are_told_apart_better_than_opposite_ones(sigma: float, q: float) -> None:
    """By integrating (P - alpha Q)+ over the plane that the two gradients lie in; alpha below 1, too."""
    side = np.linspace(-1 - 7 * sigma, 1 + 7 * sigma, 500)
    x, y = np.meshgrid(side, side)
    area = (side[1] - side[0]) ** 2

    def mixture(length: float, angle: float) -> NDArray[np.float64]:
        at = (length * np.cos(angle), length * np.sin(angle))
        around = norm.pdf(x, 0, sigma) * norm.pdf(y, 0, sigma)
        moved: NDArray[np.float64] = norm.pdf(x, at[0], sigma) * norm.pdf(y, at[1], sigma)
        return (1 - q) * around + q * moved

    rng = np.random.default_rng(0)
    alphas = np.array([0.3, 0.8, 1.0, 1.5, 4.0, 20.0])
    most = ceiling(sigma, q, 1, "substitution").delta(np.log(alphas))
    pairs = [(1.0, 1.0, np.pi), *zip(rng.random(12), rng.random(12), rng.uniform(0, np.pi, 12), strict=True)]
    for first, second, angle in pairs:
        p, other = mixture(first, 0), mixture(second, angle)
        found = np.array([np.sum(np.maximum(p - alpha * other, 0)) * area for alpha in alphas])
        assert (found <= most * (1 + 1e-3) + 1e-6).all(), (first, second, angle)  # the sum over squares is that rough
        if angle == np.pi:
            assert found == pytest.approx(most, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("steps", [2, 25])
def test_steps_without_sampling_compose_to_one(steps: int) -> None:
    found = ceiling(float(np.sqrt(steps)), 1.0, steps, "substitution").tpr(FPRS)
    assert found == pytest.approx(norm.cdf(norm.ppf(FPRS) + 2), rel=2e-3)
    assert (found >= norm.cdf(norm.ppf(FPRS) + 2)).all()


@pytest.mark.parametrize(
    ("name", "epsilon", "tolerance"),
    [("cifar10_lo", 6.88, 0.02), ("cifar10_hi", 14.3, 0.05), ("purchase100_lo", 5.5, 0.06), ("sst2_lo", 4.5, 0.03)],
)
def test_epsilon_for_substitution_is_what_was_computed_elsewhere(name: str, epsilon: float, tolerance: float) -> None:
    suite = SUITES[name]
    noise = {"cifar10_lo": 1.03424, "cifar10_hi": 0.69742, "purchase100_lo": 0.70434, "sst2_lo": 0.68604}[name]
    found = suite_ceiling(suite, noise, "substitution")
    assert found is not None
    assert found.epsilon(1e-5) == pytest.approx(epsilon, abs=tolerance)


def test_the_normal_approximation_is_no_bound() -> None:
    found = suite_ceiling(SUITES["sst2_lo"], 0.68604, "add_remove")
    assert found is not None
    assert float(found.tpr(0.001)) == pytest.approx(0.0088, abs=2e-4)
    assert float(found.tpr(0.001)) > 0.0059


@pytest.mark.parametrize("name", ["digits_lo", "cifar10_lo"])
def test_two_accountants_agree_on_the_claim(name: str) -> None:
    suite = SUITES[name]
    noise = accounting.calibrate(suite)
    found = suite_ceiling(suite, noise, "add_remove")
    assert found is not None
    assert found.epsilon(suite.delta or 0) == pytest.approx(accounting.spent_epsilon(suite, noise), rel=0.01)


def test_substitution_is_above_add_remove_and_both_rise() -> None:
    for q, steps in ((0.5, 80), (0.01, 500)):
        fprs = np.linspace(0, 1, 21)
        one, two = (ceiling(2.0, q, steps, adjacency).tpr(fprs) for adjacency in ("add_remove", "substitution"))
        assert (two >= one - 1e-9).all()
        for curve in (one, two):
            assert (np.diff(curve) >= -1e-12).all()
            assert (curve >= fprs - 1e-9).all()
            assert curve[-1] == pytest.approx(1)
        # Swapping is removing and adding, so it is at most group privacy for two.
        assert ceiling(2.0, q, steps, "substitution").epsilon(1e-3) <= 2 * ceiling(2.0, q, steps, "add_remove").epsilon(
            1e-3 / (1 + np.exp(ceiling(2.0, q, steps, "add_remove").epsilon(1e-4)))
        )


def test_the_best_attack_on_the_mechanism_itself_stays_below() -> None:
    """Likelihood ratios of 20 subsampled steps, simulated: an attacker who sees every noisy sum."""
    sigma, q, steps, runs = 1.0, 0.3, 20, 60_000
    rng = np.random.default_rng(0)
    membership = np.repeat([1, 0], runs // 2)
    shift = np.where(membership == 1, -1.0, 1.0)[:, None] * (rng.random((runs, steps)) < q)
    x = shift + sigma * rng.standard_normal((runs, steps))
    logs = [np.log((1 - q) * norm.pdf(x) + q * norm.pdf(x - at)) for at in (-1, 1)]
    ratio = (logs[0] - logs[1]).sum(axis=1)
    bound = ceiling(sigma, q, steps, "substitution")
    for fpr in (0.01, 0.1, 0.5):
        found, most = full_tpr_at_fpr(membership, ratio, fpr), float(bound.tpr(fpr))
        error = 5 * np.sqrt(most * (1 - most) / (runs / 2)) + 5 * np.sqrt(fpr / (runs / 2))
        assert found <= most + error
        assert found >= most - 0.05  # and it is nearly reached: the ceiling is not just any bound


def test_without_dp_or_without_poisson_sampling_there_is_none() -> None:
    assert suite_ceiling(SUITES["cifar10_inf"], None, "substitution") is None
    from mico_hub.sources.original.release import original_suite

    assert suite_ceiling(original_suite("sst2_lo"), 0.69, "substitution") is None


def test_a_ceiling_is_kept() -> None:
    assert ceiling(1.0, 0.5, 3, "substitution") is ceiling(1.0, 0.5, 3, "substitution")
    assert isinstance(ceiling(1.0, 0.5, 3, "substitution"), Ceiling)


@pytest.mark.parametrize("settings", [(0.0, 0.5, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, 0.5, 0)])
def test_settings_out_of_range_are_refused(settings: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="expected noise multiplier > 0"):
        ceiling(*settings, "substitution")
    with pytest.raises(ValueError, match="expected the adjacency add_remove or substitution, got 'swap'"):
        ceiling(1.0, 0.5, 1, "swap")
