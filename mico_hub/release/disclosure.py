"""Decides what is public. No other module does.

A row of the published dataset is made here from a model's split, and nothing that is written to a public file comes
from anywhere else. For `train` everything is revealed. For `dev` and `final` the row reveals the challenge, whose order
is ascending and so says nothing, and in suites whose disclosure is `training` the non-challenge training records.

The competition's own models follow the same rule, and their truth was never published: a split that knows more than a
row may reveal is refused. Their challenges keep the competition's order, a random one that a public seed gives.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mico_hub.release.format import canonical
from mico_hub.release.rows import Row, Truth
from mico_hub.splits import Indices, OriginalSplit, Split
from mico_hub.suites import Suite

REVEALED_SPLIT = "train"
ACCURACY_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a model after its training."""

    checkpoint: str  # path relative to the published repository
    sha256: str | None  # None: not known before the file is read
    num_bytes: int
    accuracy: float | None  # over `evaluation`, in [0, 1]; None where there are no evaluation records, or not known
    epsilon: float | None  # spent, inf without DP; None: not known
    delta: float | None
    member_loss: float | None = None  # mean loss of the m member challenges; never public, and None where not known

    def digest(self, suite: str, model_id: int) -> str:
        """SHA-256 over what tells this model from another: kept in the private part to find a model that was changed.

        Over the canonical JSON of {"accuracy", "member_loss", "model_id", "sha256", "suite"}.
        """
        measured = {"sha256": self.sha256, "accuracy": self.accuracy, "member_loss": self.member_loss}
        finite = {key: str(value) if isinstance(value, float) else value for key, value in measured.items()}
        return hashlib.sha256(canonical({"suite": suite, "model_id": model_id, **finite})).hexdigest()


def disclose(suite: Suite, model_id: int, split: Split, measured: Measured) -> tuple[Row, Truth]:
    """Turns a model's split into its public and its private row.

    Args:
        suite: Says what dev and final reveal.
        model_id: Decides whether the model is in train, dev or final.
        split: The model's records, membership included.
        measured: The checkpoint and what was measured; public in every split. The accuracy is over evaluation records
            only, never over the challenge, and is rounded here.

    Returns:
        (public, private): the row that is published, with None where something is hidden, and the whole truth.

    Raises:
        ValueError: The challenge is not ascending: its order would be published.
    """
    if (split.challenge[1:] <= split.challenge[:-1]).any():
        raise ValueError(f"{suite.name}/model_{model_id}: expected an ascending challenge; its order may tell members")
    private = truth(suite, model_id, split)
    membership, training = reveals(suite, private["split"])
    public = _public_row(
        suite,
        model_id,
        measured,
        split.challenge,
        split.membership if membership else None,
        split.training if training else None,
    )
    return public, private


def disclose_original(suite: Suite, model_id: int, split: OriginalSplit, measured: Measured) -> Row:
    """Turns what is known of the split of one of the competition's models into its public row.

    Raises:
        ValueError: Not all that the row should reveal is known, or more is known than it may.
    """
    name = suite.split_of(model_id)
    known = (split.membership is not None, split.training is not None)
    if known != reveals(suite, name):
        parts = ("membership", "training")
        listed = [
            " and ".join(part for part, yes in zip(parts, given, strict=True) if yes) or "neither"
            for given in (reveals(suite, name), known)
        ]
        raise ValueError(
            f"expected {name} of {suite.name} to reveal {listed[0]} of membership and training, got {listed[1]}"
        )
    training = None if split.training is None else np.sort(split.training)
    return _public_row(suite, model_id, measured, split.challenge, split.membership, training)


def reveals(suite: Suite, split: str) -> tuple[bool, bool]:
    """Whether the public rows of `train`, `dev` or `final` have (membership, training)."""
    revealed = split == REVEALED_SPLIT
    return revealed, revealed or suite.disclosure == "training"


def hidden_splits(suite: Suite) -> list[str]:
    """The splits with models whose membership is hidden."""
    return [split for split, ids in suite.model_ids.items() if ids and not reveals(suite, split)[0]]


def _public_row(
    suite: Suite,
    model_id: int,
    measured: Measured,
    challenge: Indices,
    membership: npt.NDArray[np.int8] | None,
    training: Indices | None,
) -> Row:
    return {
        "suite": suite.name,
        "split": suite.split_of(model_id),
        "model_id": model_id,
        "checkpoint": measured.checkpoint,
        "sha256": measured.sha256,
        "num_bytes": measured.num_bytes,
        "challenge": challenge,
        "membership": membership,
        "training": training,
        "accuracy": None if measured.accuracy is None else round(measured.accuracy, ACCURACY_DECIMALS),
        "epsilon": measured.epsilon,
        "delta": measured.delta,
    }


def truth(suite: Suite, model_id: int, split: Split) -> Truth:
    """The private row: everything about a model's split, for `private/` alone."""
    return {
        "suite": suite.name,
        "split": suite.split_of(model_id),
        "model_id": model_id,
        "challenge": split.challenge,
        "membership": split.membership,
        "training": split.training,
    }
