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
from mico_hub.metrics.mico_score.resampling import (
    DRAWS,
    LEVEL,
    Comparison,
    Counts,
    Interval,
    Rank,
    compare,
    compare_draws,
    count,
    draw_models,
    interval_of,
    intervals,
    mean_per_model,
    per_model,
    rank,
    resampled_scores,
)
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
    "LEVEL",
    "MAX_FPRS",
    "RANKING",
    "SCORES",
    "TITLES",
    "Comparison",
    "Counts",
    "Interval",
    "OperatingPoint",
    "Rank",
    "RocCurve",
    "Score",
    "advantage",
    "auc",
    "balanced_accuracy",
    "compare",
    "compare_draws",
    "competition_tpr_at_fpr",
    "count",
    "draw_models",
    "full_roc_curve",
    "full_scores",
    "full_tpr_at_fpr",
    "headline_scores",
    "hull_tpr_at_fpr",
    "interval_of",
    "intervals",
    "mean_per_model",
    "mico_score",
    "operating_point",
    "per_model",
    "rank",
    "resampled_scores",
    "roc_curve",
    "tied_groups",
    "validate_predictions",
]
