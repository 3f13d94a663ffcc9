"""The scores of the Microsoft Membership Inference Competition, exactly as it computed them, with numpy alone.

Source: `score()` in src/mico-competition/scoring/score.py of https://github.com/microsoft/MICO, which calls
scikit-learn's `roc_curve` and `roc_auc_score`. Nothing but numpy is imported: this file is published with the metric.

Membership is 1 for a member and 0 for a non-member; a higher prediction says member. A rate is a fraction, not percent.
"""

import codecs
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .scores import BESIDES, COMPETITION, Score

SHOWN = 5
"""Offending values that an error names before it only counts them."""


class RocCurve(NamedTuple):
    """Points of a receiver operating characteristic, from (0, 0) to (1, 1)."""

    fpr: NDArray[np.float64]  # (points,) share of non-members with prediction >= threshold
    tpr: NDArray[np.float64]  # (points,) share of members with prediction >= threshold
    thresholds: NDArray[np.float64]  # (points,) descending; inf first


def roc_curve(membership: ArrayLike, predictions: ArrayLike) -> RocCurve:
    """The competition's curve: scikit-learn's `roc_curve` with its default `drop_intermediate=True`.

    A point is dropped when the steps before and after it, in false and in true positives, are both the same. The test
    precedes the prepending of (0, 0), so the first real point always stays. Dropping keeps the curve's shape but not
    the best point below a bound on the false positive rate: see `competition_tpr_at_fpr`.

    Args:
        membership: (points,) 0 or 1.
        predictions: (points,) any finite numbers.

    Raises:
        ValueError: The two are not flat, finite and equally long, or hold only members or only non-members.
    """
    false_positives, true_positives, thresholds = _counts(membership, predictions)
    corner = corners(false_positives, true_positives)
    return _rates(false_positives[corner], true_positives[corner], thresholds[corner])


def corners(false_positives: NDArray[Any], true_positives: NDArray[Any]) -> NDArray[np.bool_]:
    """Which points of a curve without (0, 0) scikit-learn keeps: those between two different steps, and the ends.

    Args:
        false_positives: (thresholds,) counts at falling thresholds, each another point.
        true_positives: (thresholds,)
    """
    kept = np.ones(len(false_positives), dtype=np.bool_)
    kept[1:-1] = (np.diff(false_positives, 2) != 0) | (np.diff(true_positives, 2) != 0)
    return kept


def full_roc_curve(membership: ArrayLike, predictions: ArrayLike) -> RocCurve:
    """The whole curve: (0, 0) and a point for each distinct prediction, none dropped.

    Args:
        membership: (points,) 0 or 1.
        predictions: (points,) any finite numbers.

    Raises:
        ValueError: As `roc_curve`.
    """
    return _rates(*_counts(membership, predictions))


def competition_tpr_at_fpr(membership: ArrayLike, predictions: ArrayLike, max_fpr: float = 0.1) -> float:
    """The number that ranked: the best true positive rate on `roc_curve` with false positive rate < `max_fpr`.

    Strictly below, although the competition's text says "at most", and on the curve with dropped points: ties can
    lower it. `mico_hub.scoring.full_tpr_at_fpr` has neither property.

    Args:
        membership: (points,) 0 or 1.
        predictions: (points,) any finite numbers.
        max_fpr: In (0, 1].

    Raises:
        ValueError: As `roc_curve`, or `max_fpr` is out of range.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr: expected a rate in (0, 1], got {max_fpr}")
    fpr, tpr, _ = roc_curve(membership, predictions)
    return float(tpr[fpr < max_fpr].max())


def mico_score(membership: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """All scores of the competition, over the points of all models of a split pooled.

    Args:
        membership: (points,) 0 or 1.
        predictions: (points,) any finite numbers; the range is `validate_predictions`' business.

    Returns:
        `TPR_FPR_1000` is `competition_tpr_at_fpr` at 1000 / 10,000, and likewise for the other `MAX_FPRS`; `AUC` is the
        area under the curve; `MIA` is the advantage, max(TPR - FPR); `accuracy` is the best balanced accuracy. All are
        in [0, 1].

    Raises:
        ValueError: As `roc_curve`. Where scikit-learn's versions return NaN for one class only, this refuses.
    """
    return read_off(roc_curve(membership, predictions), COMPETITION)


def headline_scores(membership: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """`mico_score` and the scores of the whole curve that stand beside it; arguments and errors as of `mico_score`."""
    beside = read_off(full_roc_curve(membership, predictions), BESIDES) if BESIDES else {}
    return mico_score(membership, predictions) | beside


def read_off(curve: RocCurve, scores: Iterable[Score]) -> dict[str, float]:
    """Scores of one curve: key -> value."""
    fpr, tpr = curve.fpr[None], curve.tpr[None]
    return {score.key: float(score.of(fpr, tpr)[0]) for score in scores}


def validate_predictions(
    predictions: ArrayLike, *, expected: int | None = None, where: str = ""
) -> NDArray[np.float64]:
    """Predictions as the competition's program accepts them: numbers in [0, 1], one for each challenge point.

    Args:
        predictions: (points,) numbers, or their text as a file has it.
        expected: How many there must be; None: any number but none.
        where: What they are, for the error, e.g. `model_103`.

    Returns:
        (points,) the same values.

    Raises:
        ValueError: Names all problems at once, the first offenders of each by position (from 0) and value.
    """
    values, odd = _to_floats(predictions)
    problems = list(_problems(values, odd, expected))
    if problems:
        raise ValueError((f"{where}: " if where else "") + "; ".join(problems))
    return values


def prediction_fields(content: bytes, expected: int, name: str) -> list[str]:
    """The comma-separated fields of a file with one line of predictions, for `validate_predictions`.

    A byte order mark, UTF-16, either end of line and empty lines around it do no harm.

    Args:
        content: The file's.
        expected: How many fields there should be, for the error.
        name: The file's, for the error.

    Raises:
        ValueError: It is not text, or not one line.
    """
    try:
        lines = content.decode(_encoding(content)).strip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not text") from None
    if len(lines) != 1:
        raise ValueError(f"{name}: expected one line of {expected} numbers, got {len(lines)} lines")
    return lines[0].split(",")


def _encoding(content: bytes) -> str:
    """UTF-16, as some programs on Windows write a text, shows by its first bytes."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return {b"\0": "utf-16-be"}.get(content[:1]) or ("utf-16-le" if content[1:2] == b"\0" else "utf-8-sig")


def wrong_labels(labels: ArrayLike, predictions: ArrayLike, name: str = "membership") -> str:
    """What is wrong with labels that are not exactly 0 and 1 (integers, floats or truth values); empty: nothing.

    Args:
        labels: (points,)
        predictions: (points,), to tell whether the two were swapped.
        name: What the caller calls the labels.
    """
    wrong = np.flatnonzero(~_are_labels(labels))
    if not len(wrong):
        return ""
    named = ", ".join(f"position {p} is {reprlib.repr(np.asarray(labels).tolist()[p])}" for p in wrong[:SHOWN])
    more = ", ..." if len(wrong) > SHOWN else ""
    hint = ""
    if _are_labels(predictions).all():
        hint = f"; the predictions are all 0 and 1: were {name} and predictions swapped?"
    return f"{name}: expected only 0 and 1, got {len(wrong)} of {np.size(labels)} others: {named}{more}{hint}"


def _are_labels(values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":  # text, or a mixture
        array = np.array([value if isinstance(value, int | float) else np.nan for value in array.ravel()])
    return np.asarray((array == 0) | (array == 1))


def refuse_tables(given: Any, name: str) -> None:
    """Sees to it that points come as lists and not as a table, a dataset or its splits.

    Raises:
        ValueError: They do not, or there are none.
    """
    if isinstance(given, Mapping | str) or hasattr(given, "columns") or hasattr(given, "column_names"):
        raise ValueError(
            f"{name}: expected lists, got a {type(given).__name__}: pass a column of one split, such as "
            f"suite['train']['membership']"
        )
    if not hasattr(given, "__len__"):
        raise ValueError(f"{name}: expected lists, got a {type(given).__name__}")
    if not len(given):
        raise ValueError(f"{name}: expected at least one model, got none")


def models_of(given: Any, name: str) -> list[NDArray[Any]]:
    """An array for each model, from lists, arrays or a column of a dataset in any format.

    Raises:
        ValueError: As `refuse_tables`.
    """
    refuse_tables(given, name)
    return [np.asarray(plain(model)) for model in given]


def plain(model: Any) -> Any:
    """Arrow's list as Python's; of one row in the form of pandas or Arrow, a column of one list, that list."""
    if hasattr(model, "as_py"):
        return model.as_py()
    column = hasattr(model, "iloc") or hasattr(model, "to_pylist")
    values = list(model) if column else []
    return plain(values[0]) if len(values) == 1 and np.ndim(plain(values[0])) == 1 else model


def _to_floats(predictions: ArrayLike) -> tuple[NDArray[np.float64], dict[int, object]]:
    """The values, and those that are no number by position (NaN among the values)."""
    try:
        return np.asarray(predictions, dtype=np.float64), {}
    except (TypeError, ValueError, OverflowError):
        items: list[Any] = list(predictions) if isinstance(predictions, Iterable) else [predictions]
    values = np.full(len(items), np.nan)
    odd: dict[int, object] = {}
    for position, item in enumerate(items):
        try:
            values[position] = item
        except (TypeError, ValueError, OverflowError):
            odd[position] = item
    return values, odd


def _problems(values: NDArray[np.float64], odd: dict[int, object], expected: int | None) -> Iterator[str]:
    if values.ndim != 1:
        yield f"expected a flat list of predictions, got shape {values.shape}"
        return
    if expected is not None and len(values) != expected:
        yield f"expected {expected} predictions, got {len(values)}"
    elif not len(values):
        yield "expected predictions, got none"
    nan = np.isnan(values)
    nan[list(odd)] = False
    outside = (values < 0) | (values > 1)
    for positions, are in (
        (list(odd), "not a number"),
        (np.flatnonzero(nan).tolist(), "NaN"),
        (np.flatnonzero(outside).tolist(), "outside [0, 1]"),
    ):
        if positions:
            named = [f"position {p} is {reprlib.repr(odd.get(p, float(values[p])))}" for p in positions[:SHOWN]]
            more = ", ..." if len(positions) > SHOWN else ""
            verb = "is" if len(positions) == 1 else "are"
            yield f"{len(positions)} of {len(values)} predictions {verb} {are}: {', '.join(named)}{more}"


def _counts(
    membership: ArrayLike, predictions: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """False and true positives at each distinct prediction as the threshold, highest first: three (thresholds,)."""
    labels = np.asarray(membership)
    try:
        scores = np.asarray(predictions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"predictions: expected numbers, got a {type(predictions).__name__}: {error}") from error
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(
            "expected membership and predictions as flat lists of one length (pool the models), "
            f"got shapes {labels.shape} and {scores.shape}"
        )
    if wrong := wrong_labels(labels, scores):
        raise ValueError(wrong)
    member = labels == 1
    if not np.isfinite(scores).all():
        raise ValueError("predictions: expected finite numbers, got NaN or infinity")
    members = int(np.count_nonzero(member))
    if members in (0, len(member)):
        raise ValueError(f"expected members and non-members, got {members} and {len(member) - members}")
    order = np.argsort(scores)[::-1]
    scores = scores[order]
    # Equal predictions are one threshold, so the order within a tie is of no account and the sort need not be stable.
    last_of_tie = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    true_positives = np.cumsum(member[order])[last_of_tie]
    return last_of_tie + 1 - true_positives, true_positives, scores[last_of_tie]


def _rates(
    false_positives: NDArray[np.int64], true_positives: NDArray[np.int64], thresholds: NDArray[np.float64]
) -> RocCurve:
    return RocCurve(
        np.append(0, false_positives) / false_positives[-1],
        np.append(0, true_positives) / true_positives[-1],
        np.append(np.inf, thresholds),
    )
