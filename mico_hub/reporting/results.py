"""What one attack achieved on one split of one suite; everything that is scored or reported is made of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mico_hub.data import DATASETS
from mico_hub.handle import Handle
from mico_hub.scoring import (
    RANKING,
    Estimate,
    Interval,
    estimates,
    full_scores,
    headline_scores,
    mean_per_model,
    per_model,
)
from mico_hub.suites import SPLITS, Suite

if TYPE_CHECKING:
    from mico_hub.auditing.ceiling import Ceiling
    from mico_hub.auditing.headroom import Headroom


@dataclass(frozen=True, eq=False)
class Result:
    """One attack on one split of one suite; scores and intervals are computed when they are looked at.

    Raises:
        ValueError: There is no such split.
    """

    suite: Suite
    split: str
    attack: str  # its name, as --attack takes it where it is a reference attack
    title: str  # name for people
    membership: Sequence[ArrayLike]  # (2m,) of 0 and 1 for each model
    predictions: Sequence[ArrayLike]  # (2m,) for each model
    accuracy: float | None = None  # mean over the models, on evaluation records
    seconds: float | None = None  # of the attack; None: not known
    noise_multiplier: float | None = None  # of DP-SGD, for the ceiling; None: without DP, or not known
    # (2m,) for each model whether the record has an exact twin in the base dataset; None: not known
    twin: Sequence[NDArray[np.bool_]] | None = None
    commands: tuple[str, ...] | None = ()  # that give its scores again; empty: by its name; None: nobody else has it

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"{self.suite.name}/{self.split}/{self.attack}: expected a split of {', '.join(SPLITS)}")

    @classmethod
    def of(
        cls,
        suite: Handle,
        split: str,
        predictions: Mapping[int, ArrayLike],
        attack: str = "attack",
        *,
        title: str = "",
        truth: Mapping[int, ArrayLike] | None = None,
        seconds: float | None = None,
        commands: Sequence[str] | None = (),
    ) -> "Result":
        """The result of predictions.

        Args:
            suite: Whose models were attacked.
            split: `train`, `dev` or `final`.
            predictions: Model id -> (2m,) in the order of its challenge.
            attack: Its name.
            title: Its name for people; the same by default.
            truth: Model id -> (2m,) membership, see `Handle.truth`; None: as it is public.
            seconds: That the attack took, where they were measured.
            commands: That give its scores again, where it is not a reference attack's; None: there are none.

        Raises:
            SourceError: The membership is hidden, and no truth is given.
            KeyError: A model that is predicted is not in the split.
        """
        manifest, rows = suite.manifest, {row["model_id"]: row for row in suite.challenges(split)}
        truth = suite.truth(split) if truth is None else truth
        known = [row["accuracy"] for row in rows.values() if row["accuracy"] is not None]
        twins = DATASETS[manifest.suite.dataset].twins if manifest.data_official else None
        ids = sorted(predictions)
        return cls(
            suite=manifest.suite,
            split=split,
            attack=attack,
            title=title or attack,
            membership=[np.asarray(truth[model_id]) for model_id in ids],
            predictions=[np.asarray(predictions[model_id]) for model_id in ids],
            accuracy=mean(known) if known else None,
            seconds=seconds,
            noise_multiplier=manifest.noise_multiplier,
            twin=[np.isin(rows[model_id]["challenge"], twins.records) for model_id in ids] if twins else None,
            commands=None if commands is None else tuple(commands),
        )

    @property
    def label(self) -> str:
        """Title and name, once where they are the same."""
        return self.attack if self.title == self.attack else f"{self.title} ({self.attack})"

    @cached_property
    def scores(self) -> Mapping[str, float]:
        """`headline_scores` of the pooled points."""
        return headline_scores(*self._pooled())

    @property
    def tpr(self) -> float:
        """The score that ranks: the competition's true positive rate at a false positive rate below 10%."""
        return self.scores[RANKING]

    @cached_property
    def full(self) -> Mapping[str, float]:
        """`full_scores` of the pooled points."""
        return full_scores(*self._pooled())

    @cached_property
    def every(self) -> Mapping[str, float]:
        """`scores` and `full` together."""
        return {**self.scores, **self.full}

    @cached_property
    def estimates(self) -> Mapping[str, Estimate]:
        """`estimates` of the pooled points, all attacks on as many models on the same resamples; none of one model."""
        return _estimates(self.membership, self.predictions)

    @cached_property
    def intervals(self) -> Mapping[str, Interval | None]:
        """95%, by the keys of `estimates`; None where there are too few points, see `Estimate.interval`."""
        return {name: estimate.interval() for name, estimate in self.estimates.items()}

    @property
    def interval(self) -> Interval | None:
        """95%, of `tpr`; None: a single model, or too few points."""
        return self.intervals.get(RANKING)

    @cached_property
    def means(self) -> Mapping[str, tuple[float, Interval | None]]:
        """Each of `scores` of each model alone, its mean over models and an interval."""
        return mean_per_model(per_model(self.membership, self.predictions), rng=np.random.default_rng(0))

    @property
    def twins(self) -> int | None:
        """How many points have an exact twin; None: not known."""
        return None if self.twin is None else int(np.count_nonzero(np.concatenate(self.twin)))

    @cached_property
    def without_twins(self) -> Mapping[str, float] | None:
        """`scores` of the points that have no exact twin; None: that is all of them, or not known."""
        if self.twin is None or not self.twins:
            return None
        return headline_scores(*map(np.concatenate, self._alone()))

    @cached_property
    def intervals_without_twins(self) -> Mapping[str, Interval | None]:
        """95% of `without_twins`, as `intervals`; none where a resample has only members, or none."""
        if self.without_twins is None:
            return {}
        found = _estimates(*self._alone())
        return {name: each.interval() for name, each in found.items() if not np.isnan(each.draws).any()}

    @property
    def non_members(self) -> int:
        """How many points are of non-members."""
        return sum(int(np.count_nonzero(np.asarray(model) == 0)) for model in self.membership)

    @property
    def non_members_without_twins(self) -> int:
        """How many of these have no exact twin, as far as known."""
        if not self.twins:
            return self.non_members
        membership, _ = self._alone()
        return sum(int(np.count_nonzero(model == 0)) for model in membership)

    def _alone(self) -> Iterator[list[NDArray[np.float64]]]:
        """Membership and predictions of each model, of the points without an exact twin."""
        for each in (self.membership, self.predictions):
            yield [np.asarray(model)[~twin] for model, twin in zip(each, self.twin or (), strict=True)]

    def _pooled(self) -> Iterator[NDArray[np.float64]]:
        """Membership and predictions of all models, (points,) each."""
        for each in (self.membership, self.predictions):
            yield np.concatenate([np.asarray(model) for model in each])

    @property
    def ceiling(self) -> "Ceiling | None":
        """What bounds this score: the ceiling for the game that is played; None without DP."""
        if self.noise_multiplier is None:
            return None
        from mico_hub.auditing.ceiling import suite_ceiling  # dp_accounting takes a second to import

        return suite_ceiling(self.suite, self.noise_multiplier)

    @property
    def headroom(self) -> "Headroom | None":
        """What a linear problem would give away, a heuristic; None without DP."""
        from mico_hub.auditing.headroom import suite_headroom

        return suite_headroom(self.suite, self.noise_multiplier)

    def ceiling_at(self, fpr: float) -> float | None:
        """The most that any attack can find at a false positive rate; None where no ceiling is known."""
        return None if (ceiling := self.ceiling) is None else float(ceiling.tpr(fpr))


def _estimates(membership: Sequence[ArrayLike], predictions: Sequence[ArrayLike]) -> dict[str, Estimate]:
    """`estimates`; none for a single model."""
    if len(membership) < 2:
        return {}
    # Fixed, so that a report can be made again, and so that all attacks on a split see the same resamples.
    return estimates(membership, predictions, rng=np.random.default_rng(0))
