"""Scores of an attack and how sure they are: the competition's, the full curve's, intervals, comparisons, ranks.

All of it is pure and lives in `mico_hub.metrics.mico_score`, which is published with the metric and needs numpy alone;
this module hands it on. Beside it: `ceiling.py`, the most that can be found under a budget, and `empirical.py`, the
epsilon that attacks show.
"""

from mico_hub.metrics.mico_score.curves import (
    OperatingPoint,
    advantage,
    auc,
    balanced_accuracy,
    full_scores,
    full_tpr_at_fpr,
    hull_tpr_at_fpr,
    operating_point,
    tied_groups,
)
from mico_hub.metrics.mico_score.intervals import (
    ENOUGH_FALSE_POSITIVES,
    ENOUGH_MODELS,
    LEVEL,
    Comparison,
    Estimate,
    Interval,
    Rank,
    compare,
    compare_estimates,
    estimates,
    intervals,
    mean_per_model,
    needed_non_members,
    per_model,
    rank,
)
from mico_hub.metrics.mico_score.resampling import DRAWS, Counts, count, draw_models, resampled_scores
from mico_hub.metrics.mico_score.scores import MAX_FPRS, RANKING, SCORES, TITLES, Score
from mico_hub.metrics.mico_score.scoring import (
    RocCurve,
    competition_tpr_at_fpr,
    full_roc_curve,
    headline_scores,
    mico_score,
    roc_curve,
    validate_predictions,
)

__all__ = [
    "DRAWS",
    "ENOUGH_FALSE_POSITIVES",
    "ENOUGH_MODELS",
    "LEVEL",
    "MAX_FPRS",
    "RANKING",
    "SCORES",
    "TITLES",
    "Comparison",
    "Counts",
    "Estimate",
    "Interval",
    "OperatingPoint",
    "Rank",
    "RocCurve",
    "Score",
    "advantage",
    "auc",
    "balanced_accuracy",
    "compare",
    "compare_estimates",
    "competition_tpr_at_fpr",
    "count",
    "draw_models",
    "estimates",
    "full_roc_curve",
    "full_scores",
    "full_tpr_at_fpr",
    "headline_scores",
    "hull_tpr_at_fpr",
    "intervals",
    "mean_per_model",
    "mico_score",
    "needed_non_members",
    "operating_point",
    "per_model",
    "rank",
    "resampled_scores",
    "roc_curve",
    "tied_groups",
    "validate_predictions",
]
