"""The `evaluate` module of the competition's scores: checks, pooling and documentation around `scoring.py`."""

from typing import Any

# evaluate reads the imports of this file to check its dependencies, and two modules on one line are one name to it.
import datasets
import evaluate
import numpy as np

from .curves import full_scores
from .intervals import intervals
from .resampling import DRAWS
from .scores import COMPETITION, WHOLE_CURVE
from .scoring import mico_score, plain, refuse_tables, validate_predictions, wrong_labels

DESCRIPTION = """\
Scores of the Microsoft Membership Inference Competition (MICO, 2022-23): how well an attack tells the records a model
was trained on (members) from records of the same source that it was not trained on (non-members).

All models of a split are pooled, so one threshold serves them all, and the competition ranked by TPR_FPR_1000: the best
true positive rate at a false positive rate below 10%. The numbers equal those of the competition's own program bit for
bit: the bound is strict, and the curve is scikit-learn's, without its collinear points, so predictions that tie can
score lower than on the full curve.
"""

CITATION = """\
@misc{mico,
    author = {Zanella-B\\'eguelin, Santiago and others},
    title = {{MICO}: {Microsoft} Membership Inference Competition},
    howpublished = {1st IEEE Conference on Secure and Trustworthy Machine Learning (SaTML)},
    year = {2023},
    url = {https://github.com/microsoft/MICO}
}
"""

INPUTS_DESCRIPTION = """\
Args:
    predictions: confidence in [0, 1] that a challenge point is a member, higher = member. Either one list for each
        model, in the order of its `challenge`, or one flat list.
    references: membership in the same shape: 1 for a member, 0 for a non-member.
    full: True for what the competition did not have, too.
    seed: of the resamples that the intervals come from.

Returns:
    TPR is the best true positive rate at a false positive rate, FPR; AUC is the area under the ROC curve. TPR_FPR_1000
    ranked.
    <competition>
    With full=True also:
    <whole curve>
    FP_1000, threshold_1000: false positives and threshold that TPR_FPR_le_1000 is realised with; so for each rate.
    tied_groups, points: how many predictions more than one point has, and how many points there are.
    intervals: 95% interval [low, high] of each score, by resampling models, <draws> times; below 30 models by Student's
        t from the resamples' standard error. None at a false positive rate within which there are fewer than 5 false
        positives. For one list for each model alone.

Examples:
    >>> import evaluate
    >>> metric = evaluate.load("mico_score")  # a published copy: "<org>/mico_score"; a checkout: the path of its folder
    >>> scores = metric.compute(
    ...     predictions=[[0.9, 0.8, 0.3, 0.1], [0.7, 0.6, 0.5, 0.2]],  # two models
    ...     references=[[1, 1, 0, 0], [1, 0, 1, 0]],
    ... )
    >>> scores["TPR_FPR_1000"], scores["AUC"], scores["MIA"], scores["accuracy"]
    (0.75, 0.9375, 0.75, 0.875)
    >>> more = metric.compute(
    ...     predictions=[[0.9, 0.8, 0.3, 0.1], [0.7, 0.6, 0.5, 0.2]], references=[[1, 1, 0, 0], [1, 0, 1, 0]], full=True
    ... )
    >>> more["TPR_FPR_le_1000"], more["intervals"]["AUC"]
    (0.75, [0.0, 1.0])
"""

INPUTS_DESCRIPTION = INPUTS_DESCRIPTION.replace("<draws>", f"{DRAWS:,}")
for place, scores in (("<competition>", COMPETITION), ("<whole curve>", WHOLE_CURVE)):
    INPUTS_DESCRIPTION = INPUTS_DESCRIPTION.replace(
        place, "\n    ".join(f"{score.key}: {score.title}." for score in scores)
    )


def _lists(given: Any, name: str) -> Any:
    """What evaluate takes: of pandas and Arrow it would look at [0] alone, which a Series may not have."""
    refuse_tables(given, name)
    first = next(iter(given))
    wrapped = any(hasattr(each, what) for each in (given, first) for what in ("iloc", "as_py", "to_pylist"))
    return [plain(model) for model in given] if wrapped else given


@evaluate.utils.file_utils.add_start_docstrings(DESCRIPTION, INPUTS_DESCRIPTION)
class MicoScore(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """The metric that `evaluate.load` finds in this folder."""

    def _info(self) -> evaluate.MetricInfo:
        prediction = reference = datasets.Value("float64")  # an integer would cut a reference of 0.4 to 0
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS_DESCRIPTION,
            # The nested form first: a flat list does not fit it, and evaluate takes the first that fits.
            features=[
                datasets.Features(
                    {"predictions": datasets.Sequence(prediction), "references": datasets.Sequence(reference)}
                ),
                datasets.Features({"predictions": prediction, "references": reference}),
            ],
            homepage="https://microsoft.github.io/MICO/",
            codebase_urls=["https://github.com/microsoft/MICO"],
            reference_urls=["https://microsoft.github.io/MICO/"],
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **more: Any) -> None:
        """Adds models, or points, to what `compute` scores."""
        super().add_batch(
            predictions=_lists(predictions, "predictions"), references=_lists(references, "references"), **more
        )

    def _compute(self, predictions: Any, references: Any, full: bool = False, seed: int = 0) -> dict[str, Any]:
        # (models, points), a list of (points,) where models differ in length, or (points,)
        if np.ndim(predictions[0]) == 0:
            predictions, references, names = [predictions], [references], [""]
        else:
            names = [f"model at position {position}" for position in range(len(predictions))]
        pooled, problems = [], []
        for name, model, members in zip(names, predictions, references, strict=True):
            if members is None:
                problems.append(f"{name}: no references, its membership is hidden")
                continue
            if wrong := wrong_labels(members, model, "references"):
                problems.append(f"{name}: {wrong}" if name else wrong)
            try:
                pooled.append(validate_predictions(model, expected=len(members), where=name))
            except ValueError as problem:
                problems.append(str(problem))
        if problems:
            raise ValueError("\n".join(problems))
        points = np.concatenate(references), np.concatenate(pooled)
        scores: dict[str, Any] = mico_score(*points)
        if full:
            scores |= full_scores(*points)
            if len(pooled) > 1:
                found = intervals(references, pooled, rng=np.random.default_rng(seed))
                scores["intervals"] = {name: interval and list(interval) for name, interval in found.items()}
        return scores
