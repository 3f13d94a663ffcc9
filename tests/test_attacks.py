import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike
from safetensors.numpy import load_file
from scipy.special import log_softmax
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score

import mico_hub
from mico_hub import signals
from mico_hub.attacks import (
    ATTACKS,
    LADDER,
    Attack,
    AttackError,
    attack_scores,
    calibrated,
    classifier,
    find,
    joint,
    lira,
    own_shadows,
    prepare,
    rmia,
    to_predictions,
)
from mico_hub.attacks.arrays import OnPopulation
from mico_hub.attacks.base import Evidence, Population, TooFewShadowsError, Values, out_means
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.repository import public_rows
from mico_hub.release.rows import Row
from mico_hub.scoring import mico_score


def points(
    target: ArrayLike,
    inside: ArrayLike,
    outside: ArrayLike,
    signal: str = "margin",
    population: Population | None = None,
) -> Evidence:
    """One record a column; `inside` and `outside` hold the shadow models' values."""
    given_in, given_out = (np.array(values, dtype=float) for values in (inside, outside))
    member = np.concatenate([np.ones(given_in.shape, dtype=bool), np.zeros(given_out.shape, dtype=bool)])
    seen = Values(np.array(target, dtype=float), np.concatenate([given_in, given_out]))
    return Evidence({signal: seen}, member)


def drawn(seed: int = 0, models: int = 20, records: int = 50, few: bool = True) -> Evidence:
    """Random signals, lower losses for members; with `few`, records that all, no, one, all but one model has."""
    rng = np.random.default_rng(seed)
    member = rng.random((models, records)) < 0.6
    if few:
        member[:, 0], member[:, 1] = True, False
        member[:, 2], member[:, 3] = np.arange(models) == 3, np.arange(models) != 5
    p = 1 / (1 + np.exp(-rng.normal(size=(models, records)) - member))
    target = 1 / (1 + np.exp(-rng.normal(size=records)))
    values = {
        "loss": Values(-np.log(target), -np.log(p)),
        "margin": Values(np.log(target / (1 - target)), np.log(p / (1 - p))),
        "modified_entropy": Values(-np.log(target) * (1 - target), -np.log(p) * (1 - p)),
        "gradient_norm": Values(1 - target, 1 - p),
        "gradient_coefficient": Values(rng.normal(size=records) + target, rng.normal(size=p.shape) + 2 * p),
    }
    of_population = rng.random((models, 30)) < 0.6
    z = 1 / (1 + np.exp(-rng.normal(size=(models, 30)) - of_population))
    z_target = 1 / (1 + np.exp(-rng.normal(size=30)))
    return Evidence(values, member, Population({"loss": Values(-np.log(z_target), -np.log(z))}, of_population))


def test_lira_meets_the_numbers_of_a_worked_example() -> None:
    """IN 2, 3, 4, OUT -1, 1, phi 2.5, ddof 1; offline the paper's score is Phi of ours."""
    worked = points([2.5], [[2], [3], [4]], [[-1], [1]])
    assert lira.online(worked) == pytest.approx([1.78407], abs=1e-5)
    assert norm.cdf(lira.offline(worked)) == pytest.approx([0.96145], abs=1e-5)


def test_a_fixed_variance_is_pooled_within_records() -> None:
    """Records {10, 12} and {0, 2}: 1.414, and not the 5.099 of everything."""
    values = np.array([[10.0, 0.0], [12.0, 2.0]])
    assert np.sqrt(lira.pooled_variance(values, np.ones((2, 2), dtype=bool))) == pytest.approx(1.414, abs=1e-3)
    given_points = points([11, 3], [[10, 0], [12, 2]], [[9, 1], [11, 5]])
    sides = [norm.logpdf([11, 3], mean, np.sqrt(variance)) for mean, variance in (([11, 1], 2), ([10, 3], 5))]
    assert lira.fixed_variance(given_points) == pytest.approx(sides[0] - sides[1])


def sides(given: Evidence, signal: str, column: int) -> tuple[np.ndarray, np.ndarray]:
    values, member = given.signals[signal].shadows[:, column], given.member[:, column]
    return values[member], values[~member]


def test_lira_is_the_naive_one_on_random_data() -> None:
    given_points = drawn(few=False)
    target = given_points.signals["margin"].target
    expected, above = [], []
    for column, phi in enumerate(target):
        inside, outside = sides(given_points, "margin", column)
        outside_pdf = norm.logpdf(phi, outside.mean(), outside.std(ddof=1))
        expected.append(norm.logpdf(phi, inside.mean(), inside.std(ddof=1)) - outside_pdf)
        above.append((phi - outside.mean()) / outside.std(ddof=1))
    assert lira.online(given_points) == pytest.approx(expected)
    assert lira.offline(given_points) == pytest.approx(above)


def test_shrunken_effects_are_the_naive_ones_on_random_data() -> None:
    """Also of records without IN or OUT models, the first two, which have the mean effect."""
    given_points = drawn()
    seen = given_points.signals["margin"]
    seen.shadows[:] += given_points.member * np.random.default_rng(1).normal(scale=2, size=50)  # effects of their own
    both = [sides(given_points, "margin", column) for column in range(50)]

    def pooled(parts: Sequence[np.ndarray]) -> float:
        squares = sum(((part - part.mean()) ** 2).sum() for part in parts if len(part))
        return float(squares / sum(len(part) - 1 for part in parts if len(part)))

    s_in, s_out = map(pooled, zip(*both, strict=True))
    effects = [inside.mean() - outside.mean() for inside, outside in both[2:]]
    errors = [s_in / len(inside) + s_out / len(outside) for inside, outside in both[2:]]
    real = np.var(effects, ddof=1) - np.mean(errors)
    assert real > 1
    shrunk = [np.mean(effects)] * 2
    for effect, error in zip(effects, errors, strict=True):
        weight = real / (real + error)
        shrunk.append(weight * effect + (1 - weight) * np.mean(effects))
    expected = []
    for phi, of_record, effect in zip(seen.target, both, shrunk, strict=True):
        inside, outside = map(len, of_record)
        mu_out = np.concatenate(of_record).mean() - effect * inside / (inside + outside)
        pdfs = [norm.logpdf(phi, mu_out + effect, np.sqrt(s_in)), norm.logpdf(phi, mu_out, np.sqrt(s_out))]
        expected.append(pdfs[0] - pdfs[1])
    assert lira.shrunken(given_points) == pytest.approx(expected)


def test_effects_that_vary_no_more_than_chance_lets_them_are_all_the_mean_one() -> None:
    """Three records, IN 2 above OUT in each; variances 2 on both sides, so d is off by 2, and varies by less."""
    given_points = points([2, 5, 8], [[1, 3.5, 6], [3, 5.5, 8]], [[-1, 1, 4], [1, 3, 6]])
    effects = np.array([2, 2.5, 2])
    assert effects.var(ddof=1) < 2
    mean = np.array([1, 3.25, 6])
    given_in, given_out = (norm.logpdf([2, 5, 8], mean + half, np.sqrt(2)) for half in (13 / 12, -13 / 12))
    assert lira.shrunken(given_points) == pytest.approx(given_in - given_out)


def test_joint_signals_are_the_naive_ones_on_random_data() -> None:
    """Loops over records: the direction, a line through effects, and the ratio, one number at a time."""
    given_points = drawn(few=False)
    seen = [given_points.signals[name] for name in ("margin", "gradient_coefficient")]
    member = given_points.member
    both = [
        [np.column_stack([of.shadows[side[:, p], p] for of in seen]) for side in (member, ~member)] for p in range(50)
    ]
    squares = sum(np.cov(side.T, bias=True) * len(side) for record in both for side in record)
    free = sum(len(side) - 1 for record in both for side in record)
    counts = np.array([len(a) * len(b) / (len(a) + len(b)) for a, b in both])
    differences = np.array([a.mean(axis=0) - b.mean(axis=0) for a, b in both])
    direction = np.linalg.inv(squares / free) @ np.average(differences, axis=0, weights=counts)
    projected = [(a @ direction, b @ direction) for a, b in both]
    s_in, s_out = (
        sum(((record[side] - record[side].mean()) ** 2).sum() for record in projected)
        / sum(len(record[side]) - 1 for record in projected)
        for side in (0, 1)
    )
    effects = np.array([a.mean() - b.mean() for a, b in projected])
    errors = np.array([s_in / len(a) + s_out / len(b) for a, b in projected])
    easiness = np.array([b[:, 0].mean() for _, b in both])
    real = max(0.0, effects.var(ddof=1) - errors.mean())
    design = np.column_stack([np.ones(50), easiness])
    scale = 1 / (real + errors)
    line = design @ np.linalg.solve(design.T @ (scale[:, None] * design), design.T @ (scale * effects))
    real = max(0.0, ((effects - line) ** 2).sum() / 48 - errors.mean())
    expected = []
    for p, (a, b) in enumerate(projected):
        effect = line[p] + real / (real + errors[p]) * (effects[p] - line[p])
        out = np.concatenate([a, b]).mean() - effect * len(a) / (len(a) + len(b))
        phi = sum(weight * values.target[p] for weight, values in zip(direction, seen, strict=True))
        expected.append(norm.logpdf(phi, out + effect, s_in**0.5) - norm.logpdf(phi, out, s_out**0.5))
    assert joint.joint(given_points) == pytest.approx(expected)


def test_a_signal_that_tells_nothing_changes_nothing_by_its_scale() -> None:
    """Nor does one of another unit: the direction takes it out again."""
    given_points = drawn(few=False)
    scores = joint.joint(given_points)
    scaled = {name: Values(1e3 * v.target, 1e3 * v.shadows) for name, v in given_points.signals.items()}
    assert joint.joint(Evidence(scaled, given_points.member)) == pytest.approx(scores)


def test_a_signal_twice_is_that_signal_and_one_that_is_constant_is_refused() -> None:
    given_points = drawn(few=False)
    margin = given_points.signals["margin"]
    twice = Evidence({"margin": margin, "gradient_coefficient": margin}, given_points.member)
    alone = lira.shrunken_ratio(margin, given_points.member, out_means(margin.shadows, given_points.member))
    assert joint.joint(twice) == pytest.approx(alone)
    constant = Values(np.zeros(50), np.zeros(margin.shadows.shape))
    with pytest.raises(TooFewShadowsError, match="expected signals that vary"):
        joint.joint(Evidence({"margin": margin, "gradient_coefficient": constant}, given_points.member))


def test_effects_need_a_record_with_models_on_both_sides() -> None:
    member = np.array([[True, False]] * 3)
    seen = Values(np.zeros(2), np.arange(6.0).reshape(3, 2))
    with pytest.raises(TooFewShadowsError, match="got none"):
        lira.shrunken(Evidence({"margin": seen}, member))


def test_records_with_few_models_on_a_side_are_completed() -> None:
    given_points = drawn(models=10, records=6)
    values, member = given_points.signals["margin"].shadows, given_points.member
    assert np.isfinite(lira.online(given_points)).all()
    means, variances = lira.normal(values, member)
    assert means[1] == pytest.approx(values[member].mean())
    assert means[2] == pytest.approx(values[3, 2])
    assert variances[1] == variances[2]
    residuals = [values[member[:, c], c] - values[member[:, c], c].mean() for c in range(6) if member[:, c].sum() > 1]
    pooled = sum((part**2).sum() for part in residuals) / sum(len(part) - 1 for part in residuals)
    assert variances[2] == pytest.approx(pooled)


def test_the_calibrated_scores_meet_the_numbers_of_a_worked_example() -> None:
    """IN 2, 3, 4, OUT -1, 1, s 2.5; and with at most one OUT model, where IN stands for OUT and counts twice."""
    formulas = calibrated.midpoint, calibrated.inside, calibrated.standardised
    for outside, expected in (([[-1], [1]], [1.0, -0.5, 0.36391]), ([[7]], [-0.5, -0.5, -0.55902])):
        worked = points([2.5], [[2], [3], [4]], outside)
        seen = worked.signals["margin"]
        got = [formula(seen.target, seen.shadows, worked.member)[0] for formula in formulas]
        assert got == pytest.approx(expected, abs=1e-5)
    worked = points([2.5], [[2], [3], [4]], [[-1], [1]])
    seen = worked.signals["margin"]
    assert calibrated.difficulty(seen.target, seen.shadows, worked.member) == pytest.approx([2.5])


def test_calibrated_scores_are_the_naive_ones_on_random_data() -> None:
    """Also where there are few or no models on a side."""
    given_points = drawn()
    for probability in (False, True):
        of = "probability" if probability else "loss"
        seen = given_points.signals["loss"]
        target, shadows = (
            (np.exp(-seen.target), np.exp(-seen.shadows)) if probability else (-seen.target, -seen.shadows)
        )
        expected: dict[str, list[float]] = {name: [] for name in ("midpoint", "in", "standardised")}
        differences = []
        for column, s in enumerate(target):
            member = given_points.member[:, column]
            inside, outside = shadows[member, column], shadows[~member, column]
            differences.append(s - (outside if len(outside) else inside).mean())
            if len(outside) < 2 and len(inside):
                outside = inside
            if not len(inside):
                inside = outside
            together = np.concatenate([inside, outside])
            expected["midpoint"].append(s - (inside.mean() + outside.mean()) / 2)
            expected["in"].append(s - inside.mean())
            expected["standardised"].append((s - together.mean()) / together.std(ddof=1))
        for name, values in expected.items():
            assert ATTACKS[f"{name}_{of}"].score(given_points) == pytest.approx(values), (name, of)
        assert ATTACKS["reference" if probability else "difficulty"].score(given_points) == pytest.approx(differences)


def test_rmia_meets_the_numbers_of_a_worked_example() -> None:
    """a = 0.3: x with target 0.9 and OUT mean 0.5 against three records of the population."""
    expected = rmia.expected_offline(np.array([[0.4], [0.6]]), np.zeros((2, 1), dtype=bool))
    assert 0.9 / expected == pytest.approx([1.3333], abs=1e-4)
    means = np.array([[0.8, 0.4, 0.5]])
    of_population = np.array([0.8, 0.6, 0.3]) / rmia.expected_offline(means, np.zeros((1, 3), dtype=bool))
    assert of_population == pytest.approx([0.91954, 0.98361, 0.44444], abs=1e-5)
    assert rmia.shares(np.array([1.3333]), of_population, gamma=1) == pytest.approx([1])
    assert rmia.shares(np.array([1.3333]), of_population, gamma=2) == pytest.approx([1 / 3])
    five_in = np.array([[0.9]] * 5 + [[0.3]])
    member = np.array([[True]] * 5 + [[False]])
    assert rmia.expected_online(five_in, member) == pytest.approx([0.6])  # and not the 0.8 of the mean over models


@pytest.mark.parametrize("online", [True, False])
def test_rmia_is_the_naive_one_on_random_data(online: bool) -> None:
    given_points = drawn()
    assert given_points.population is not None

    def ratios(seen: Values, member: np.ndarray) -> list[float]:
        found = []
        for column, loss_of_target in enumerate(seen.target):
            p, inside = np.exp(-seen.shadows[:, column]), member[:, column]
            out = p[~inside].mean() if (~inside).any() else p.mean()
            within = p[inside].mean() if inside.any() else out
            expected = (within + out) / 2 if online else (1.3 * out + 0.7) / 2
            found.append(np.exp(-loss_of_target) / expected)
        return found

    of_points = ratios(given_points.signals["loss"], given_points.member)
    of_population = ratios(given_points.population.signals["loss"], given_points.population.member)
    expected = [np.mean([x / z >= 1 for z in of_population]) for x in of_points]
    assert ATTACKS["rmia" if online else "rmia_offline"].score(given_points) == pytest.approx(expected)


def test_the_classifier_compares_no_shadow_model_with_itself() -> None:
    given_points = drawn(models=6, records=8, few=False)
    values, member = given_points.signals["loss"].shadows, given_points.member
    features = classifier._of_shadows(given_points, "loss")
    for s, p in itertools.product(range(6), range(8)):
        for feature, side in ((features[1], member), (features[2], ~member)):
            others = [values[other, p] for other in range(6) if other != s and side[other, p]]
            usual = np.mean(others) if others else values[side].mean()
            assert feature[s, p] == pytest.approx(values[s, p] - usual)


def test_the_classifier_learns_what_membership_looks_like() -> None:
    scores, labels = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        given_points = drawn(seed)
        members = rng.random(50) < 0.5
        for name, seen in given_points.signals.items():
            shift = {"loss": -1.0, "modified_entropy": -1.0, "margin": 1.0, "gradient_norm": 0.0}.get(name, 0.0)
            seen.target[members] += shift
        scores.append(classifier.score(given_points))
        labels.append(members)
    assert mico_score(np.concatenate(labels), np.concatenate(to_predictions(scores)))["AUC"] > 0.65


def test_thresholds_use_the_target_alone() -> None:
    given_points = drawn()
    for name, signal in (("loss", "loss"), ("entropy", "modified_entropy")):
        assert ATTACKS[name].score(given_points) == pytest.approx(-given_points.signals[signal].target)
        assert not ATTACKS[name].uses_shadows
    assert [name for name, attack in ATTACKS.items() if attack.white_box] == [
        "lira_joint", "gradient_norm", "distinguisher_joint",
    ]  # fmt: skip


def test_the_shadow_models_say_which_way_the_gradient_norm_goes() -> None:
    given_points = drawn()
    norms = given_points.signals["gradient_norm"]
    assert ATTACKS["gradient_norm"].score(given_points) == pytest.approx(-norms.target)
    turned = Evidence({"gradient_norm": Values(norms.target, 1 - norms.shadows)}, given_points.member)
    assert ATTACKS["gradient_norm"].score(turned) == pytest.approx(norms.target)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_scores_records_that_few_models_have_or_lack(name: str) -> None:
    """Members of all, of none, of one, of all but one: a finite score for each, and the registry says what is done."""
    attack = ATTACKS[name]
    scores = attack.score(drawn())
    assert scores.shape == (50,)
    assert np.isfinite(scores).all()
    assert bool(attack.with_few_shadows) == attack.uses_shadows
    assert attack.name == name
    assert all(map(signals.is_signal, attack.signals))


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.uses_shadows])
def test_without_shadow_models_an_attack_says_so(name: str) -> None:
    none = np.empty((0, 3))
    seen = {signal: Values(np.ones(3), none) for signal in ATTACKS[name].signals}
    of_population = Population(seen, none.astype(bool))
    with pytest.raises(TooFewShadowsError, match="expected"):
        ATTACKS[name].score(Evidence(seen, none.astype(bool), of_population))


@given(st.lists(arrays(float, st.integers(1, 8), elements=st.floats(-1e300, 1e300)), min_size=1, max_size=4))
def test_predictions_keep_order_and_ties_over_all_models(scores: list[np.ndarray]) -> None:
    predictions = to_predictions(scores)
    assert [len(part) for part in predictions] == [len(part) for part in scores]
    pooled = np.concatenate(predictions)
    assert ((pooled > 0) & (pooled < 1)).all()
    before, after = (rankdata(values, method="dense") for values in (np.concatenate(scores), pooled))
    assert (before == after).all()


def test_scores_that_a_sigmoid_would_tie_stay_apart() -> None:
    first, second = to_predictions([np.array([40.0, 41.0])])[0]
    assert first < second


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 of 3 that are not"):
        to_predictions([np.array([np.nan, np.inf, 0.0])])


@pytest.mark.parametrize("name", [attack.name for attack in LADDER])
def test_attacks_run_on_every_split(trained: Path, published: Path, name: str) -> None:
    rows = public_rows(SuiteFolder(trained / "digits_inf"))
    for split, shadows in (("train", None), ("dev", rows["train"]), ("final", rows["train"])):
        predictions = mico_hub.attack(name, rows[split], shadows, str(published))
        assert [len(part) for part in predictions] == [200] * len(rows[split])
        if split == "train":
            membership = np.concatenate([row["membership"] for row in rows[split]])
            assert 0.4 < mico_score(membership, np.concatenate(predictions))["AUC"] < 0.9


def test_models_of_the_targets_own_tell_more_than_published_ones(
    trained: Path, published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They differ from the target in nothing but the challenge. They are kept: the second call trains none."""
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(own_shadows, "SHADOWS", 12)
    rows = public_rows(SuiteFolder(trained / "digits_inf"))["train"]
    membership = np.concatenate([row["membership"] for row in rows])
    own = mico_hub.attack("distinguisher", [row | {"membership": None} for row in rows], [], str(published))
    published_ones = mico_hub.attack("lira", rows, None, str(published))
    auc = [roc_auc_score(membership, np.concatenate(each)) for each in (own, published_ones)]
    assert auc[0] > max(auc[1], 0.6)  # 0.7 and 0.55
    files = list((tmp_path / "own_shadows").iterdir())
    assert len(files) == 4
    kept = load_file(files[0])
    assert kept["margin"].shape == kept["member"].shape == (12, 200)
    assert (kept["member"].sum(axis=1) == 100).all()
    assert len({row.tobytes() for row in kept["member"]}) == 12
    monkeypatch.setattr(own_shadows, "_job", None)
    again = mico_hub.attack("distinguisher", rows, [], str(published))
    assert all((a == b).all() for a, b in zip(own, again, strict=True))


def test_a_target_that_hides_its_training_has_no_models_of_its_own(trained: Path, published: Path) -> None:
    rows = public_rows(SuiteFolder(trained / "digits_inf"))
    with pytest.raises(AttackError, match=r"expected targets whose other training records are revealed, .* got 2"):
        mico_hub.attack("distinguisher", rows["dev"], rows["train"], str(published))


def test_a_model_is_never_its_own_shadow(trained: Path, published: Path) -> None:
    """Leave one out: what the target says of itself must not enter; with it LiRA would be perfect."""
    rows = public_rows(SuiteFolder(trained / "digits_inf"))["train"]
    alone = mico_hub.attack("lira", rows[:1], rows[1:], str(published))[0]
    together = mico_hub.attack("lira", rows, None, str(published))[0]
    assert (rankdata(alone) == rankdata(together)).all()


@pytest.mark.parametrize("name", ["lira", "rmia", "lira_shrunken"])
def test_nor_is_it_among_shadows_that_are_passed(name: str, trained: Path, published: Path) -> None:
    """The same rows again, in another order, each twice, by name, from a copy elsewhere, or under another number."""
    folder = published
    rows = public_rows(SuiteFolder(trained / "digits_inf"))["train"]
    expected = attack_scores(name, rows, None, str(folder))
    renumbered = [Row({**row, "model_id": row["model_id"] + 90}) for row in rows]
    for shadows in (rows, rows[::-1], [*rows, *rows], mico_hub.open_suite("digits_inf", folder).train, renumbered):
        got = attack_scores(name, rows, shadows, str(folder))
        assert all(np.allclose(a, b) for a, b in zip(got, expected, strict=True))
    (first, again) = attack_scores(name, [rows[0], rows[0]], rows, str(folder))
    assert np.allclose(first, expected[0])
    assert np.allclose(again, expected[0])
    elsewhere = [Row({**row, "sha256": "0" * 64}) for row in rows]
    with pytest.raises(
        ValueError, match="digits_inf/train/model_0: expected one checkpoint, got rows with sha256 0000"
    ):
        attack_scores(name, rows, elsewhere, str(folder))


def test_a_model_alone_has_no_shadow(trained: Path, published: Path) -> None:
    row = public_rows(SuiteFolder(trained / "digits_inf"))["train"][:1]
    with pytest.raises(TooFewShadowsError):
        mico_hub.attack("lira", row, row, str(published))


def test_hidden_models_cannot_be_shadows(trained: Path, published: Path) -> None:
    rows = public_rows(SuiteFolder(trained / "digits_inf"))["dev"]
    with pytest.raises(ValueError, match=r"got 2 whose are hidden \(dev/model_4, dev/model_5"):
        mico_hub.attack("lira", rows, None, str(published))


def test_what_is_done_with_few_models_is_counted_and_said_once(
    trained: Path, published: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of four train models: each target has three shadows, so a record has at most one model on some side."""
    rows = public_rows(SuiteFolder(trained / "digits_inf"))["train"]
    mico_hub.attack("lira", rows, None, str(published))
    lines = [line for line in caplog.messages if line.startswith("lira:")]
    assert lines == ["lira: 800 of 800 records have fewer than 2 IN or OUT models: " + ATTACKS["lira"].with_few_shadows]


def test_signals_are_computed_once_for_any_number_of_attacks(trained: Path, published: Path) -> None:
    rows = public_rows(SuiteFolder(trained / "digits_hi"))
    selected = list(LADDER)
    prepared = prepare(selected, rows["dev"], rows["train"], str(published))
    for attack in selected:
        together = to_predictions(prepared.scores(attack))
        alone = mico_hub.attack(attack, rows["dev"], rows["train"], str(published))
        assert all((a == b).all() for a, b in zip(together, alone, strict=True)), attack.name


def test_a_function_and_an_object_are_attacks(published: Path) -> None:
    """With all evidence; the target's loss is made again, from its logits and from the model."""
    suite = mico_hub.open_suite("digits_hi", published)
    given = list[Evidence]()

    def by_logits(evidence: Evidence) -> np.ndarray:
        given.append(evidence)
        assert evidence.logits is not None
        assert evidence.labels is not None
        log_p: np.ndarray = log_softmax(evidence.logits.astype(float), axis=1)
        return log_p[np.arange(200), evidence.labels]

    def by_shadows(evidence: Evidence) -> Any:
        return evidence.signals["margin"].target - evidence.signals["margin"].shadows.mean(axis=0)

    class WhiteBox:
        """Reads no signal."""

        name, title, signals = "mine", "my attack", ()
        needs = ("model", "records")

        def score(self, evidence: Evidence) -> Any:
            assert evidence.model is not None
            assert isinstance(evidence.inputs, torch.Tensor)
            assert evidence.labels is not None
            outputs = evidence.model(evidence.inputs).log_softmax(dim=1)
            return outputs[range(200), evidence.labels].detach().double().numpy()

    by_logits.needs, by_logits.signals = ["logits", "records"], ["loss"]  # type: ignore[attr-defined]
    source, expected = str(published), attack_scores("loss", suite.dev, suite, source=str(published))
    for own in (by_logits, WhiteBox()):
        for found, losses in zip(attack_scores(own, suite.dev, source=source), expected, strict=True):
            assert found == pytest.approx(losses, abs=1e-5)
    assert (find(WhiteBox()).name, find(WhiteBox()).title, find(WhiteBox()).white_box) == ("mine", "my attack", True)
    assert find(by_shadows).needs == ("shadows",)
    assert np.concatenate(mico_hub.attack(by_shadows, suite)).shape == (4 * 200,)
    evidence = given[0]
    assert evidence.row is not None
    assert evidence.row["membership"] is None
    assert evidence.records is not None
    assert evidence.records.tolist() == list(suite.dev[0]["challenge"])
    assert (evidence.model, evidence.population, evidence.member.shape) == (None, None, (0, 200))
    for wrong in (7, None, object()):
        with pytest.raises(AttackError, match="is not an attack: expected a function score"):
            mico_hub.attack(wrong, suite)  # type: ignore[arg-type]
    with pytest.raises(AttackError, match="own_shadows have signals of outputs and gradient_coefficient, got"):
        Attack("mine", by_shadows, signals=("gradient_norm",), needs=("own_shadows",))
    by_logits.needs = ["logit"]  # type: ignore[attr-defined]
    with pytest.raises(AttackError, match=r"by_logits is not an attack: expected needs to be .* logits, model, got"):
        mico_hub.attack(by_logits, suite)


def test_the_truth_of_a_target_is_no_evidence(published: Path) -> None:
    """Whoever attacks train, whose membership is public, does not hand it to the attack."""
    rows = []

    def score(evidence: Evidence) -> np.ndarray:
        rows.append(evidence.row)
        return evidence.signals["margin"].target

    mico_hub.attack(score, mico_hub.open_suite("digits_inf", published))
    assert [row and row["membership"] for row in rows] == [None] * 4


def test_an_unknown_attack_names_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"unknown attack 'lire'\. Did you mean 'lira'\? There are: entropy, loss, diff"
    ):
        mico_hub.attack("lire", [])


def test_whatever_means_models_is_attacked(published: Path) -> None:
    """A suite's name, a suite, its splits, one of them in any format, rows; and one row."""
    source = str(published)
    suite = mico_hub.open_suite("digits_hi", published)
    expected = mico_hub.attack("lira", suite.train, source=source)
    for models in ("digits_hi", suite, suite.rows, suite.train.with_format("pandas"), list(suite.train)):
        found = mico_hub.attack("lira", models, source=source)
        assert all((one == other).all() for one, other in zip(found, expected, strict=True))
    (hidden,) = mico_hub.attack("lira", suite.dev[0], suite, source)
    assert (hidden == mico_hub.attack("lira", suite.dev.select([0]), suite.train, source)[0]).all()
    with pytest.raises(KeyError, match="unknown suite 'digits_high'"):
        mico_hub.attack("loss", "digits_high", source=source)
    with pytest.raises(ValueError, match="expected a suite with a split train, got dev: pass one of them"):
        mico_hub.attack("loss", datasets.DatasetDict({"dev": suite.dev}), source=source)
    for wrong in (7, None, [3]):
        with pytest.raises(TypeError, match="expected a row of a suite"):
            mico_hub.attack("loss", wrong, source=source)
    with pytest.raises(ValueError, match="expected at least one model to attack, got none"):
        mico_hub.attack("loss", [], source=source)


# ---- on anybody's arrays


@pytest.mark.parametrize("name", ATTACKS)
def test_arrays_give_the_scores_of_a_suite(name: str) -> None:
    evidence, attack = drawn(), ATTACKS[name]
    target = {signal: seen.target for signal, seen in evidence.signals.items()}
    shadows = {signal: seen.shadows.tolist() for signal, seen in evidence.signals.items()}
    assert evidence.population is not None
    of_population = evidence.population.signals
    population = OnPopulation(
        {signal: seen.target for signal, seen in of_population.items()},
        {signal: seen.shadows for signal, seen in of_population.items()},
        evidence.population.member.astype(int),
    )
    got = mico_hub.attacks.run(name, target, shadows, evidence.member.astype(int), population)
    assert got == pytest.approx(attack.score(evidence))


def test_one_signal_needs_no_name_and_a_function_will_do() -> None:
    evidence = drawn()
    seen = evidence.signals["margin"]
    expected = ATTACKS["lira"].score(evidence)
    assert mico_hub.attacks.run("lira", seen.target, seen.shadows, evidence.member) == pytest.approx(expected)
    assert mico_hub.attacks.run(lira.online, seen.target, seen.shadows, evidence.member) == pytest.approx(expected)
    loss = evidence.signals["loss"].target
    assert mico_hub.attacks.run("loss", {"loss": loss}) == pytest.approx(-loss)


ONE = [[1.0]]
WRONG: list[tuple[str, tuple[Any, ...], list[str]]] = [
    ("lira", ([1.0, 2.0],), ["lira compares with shadow models: expected shadows and member"]),
    (
        "lira",
        ({"loss": [1.0]}, {"loss": ONE}, [[1]]),
        ["target: expected the signals margin, got loss", "shadows: expected the signals margin, got loss"],
    ),
    ("lira", ([1.0, 2.0], [[1.0, 2.0]], [[0.5, 1]]), ["member: expected booleans of shape (shadow models, 2), got"]),
    (
        "lira",
        ([1.0, np.nan], [[1.0, 2.0, 3.0]], [[0, 1]]),
        [
            "shadows, margin: expected shape (1, 2), as member has, got (1, 3)",
            "target, margin: expected finite values, 1 are not",
        ],
    ),
    ("lira_joint", ([1.0],), ["target: expected signals by name, margin, gradient_coefficient, got an array"]),
    ("loss", ([1.0],), ["target: expected signals by name, loss, got an array"]),
    ("rmia", ({"loss": [1.0]}, {"loss": ONE}, [[1]]), ["rmia needs a population"]),
    (
        "rmia",
        ({"loss": [1.0]}, {"loss": ONE}, [[1]], OnPopulation({"loss": [1.0]}, {"loss": [[1.0, 2.0]]}, [[1]])),
        ["population.shadows, loss: expected"],
    ),
    ("lira", ([1.0], ONE, True), ["member: expected booleans of shape (shadow models, 1), got bool of shape ()"]),
    ("lira", (1.0, ONE, [[1]]), ["target, margin: expected one number a record, (0,), got ()"]),
    ("lira", ([[1.0], [1.0, 2.0]], ONE, [[1]]), ["target, margin: expected an array: "]),
    ("lira", (["a"], ONE, [[1]]), ["target, margin: expected numbers"]),
    ("lira", ([1.0] * 3, [[1.0] * 3] * 4, [[1, 0, 1]] * 2 + [[0, 1, 0]] * 2), ["3 of 3 scores are not finite"]),
]


@pytest.mark.parametrize(("name", "arguments", "problems"), WRONG)
def test_wrong_arrays_are_refused_with_all_that_is_wrong(
    name: str, arguments: tuple[Any, ...], problems: list[str]
) -> None:
    with pytest.raises(AttackError) as error:
        mico_hub.attacks.run(name, *arguments)
    for problem in problems:
        assert problem in str(error.value)


def test_what_only_a_suite_gives_is_named() -> None:
    attack = Attack("mine", lambda evidence: np.zeros(1), signals=(), needs=("model", "records"))
    with pytest.raises(AttackError, match="mine needs model, which only a suite gives"):
        mico_hub.attacks.run(attack, {})
